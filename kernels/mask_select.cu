// Plans and a work list → a masked batch, written straight into the engine's input buffer.
//
// out[slot] shows, at every element, image plans[plan].end where map[element] < step, else image plans[plan].start, for
// (plan, step) = work[slot]. Values are moved, never computed: 8-, 16- and 32-bit elements of any type.
//
//   images (I, planes·plane)   each image and baseline once, in the engine's own type and layout
//   maps   (J, map_planes·plane ÷ divisor)   step maps, uint8, uint16 or int32
//   plans  (·, 3) int32: start and end (rows of images), map (row of maps)
//   work   (items, 2) int32: plan, step
//   out    (items, planes·plane)
//
// A thread owns `V` neighbouring elements of every plane and `chunk` consecutive slots. What it read stays in registers
// from slot to slot while the plan stays, and the steps from plane to plane while the map stays: reads are about
// 1/chunk of the writes. Rung 4 of the ladder in README.md.
#include "launch.cuh"

// The steps of a thread's elements, loaded at one go where they lie side by side.
template <class M, i32 V>
struct alignas(sizeof(M) * V) Steps {
  M when[V];
};

template <class T, class M, i32 V>
DEVICE void mask_select(const T* images, const M* maps, const i32* plans, const i32* work, T* out, i32 items,
                        i32 chunk, i32 planes, i32 plane, i32 map_planes, i32 divisor) {
  const i32 element = (block_x() * threads() + thread()) * V;
  if (element >= plane) return;
  const i32 first = block_y() * chunk, last = smaller(first + chunk, items);
  const i64 image_size = static_cast<i64>(planes) * plane, map_plane = plane / divisor;
  Steps<M, V> steps;
  i32 held_map = -1;
#pragma unroll 1
  for (i32 c = 0; c < planes; ++c) {
    const i64 place = static_cast<i64>(c) * plane + element;
    if (map_planes > 1) held_map = -1;
    i32 held_plan = -1;
    Wide start, end;
    T lone_start = T(), lone_end = T();
#pragma unroll 1
    for (i32 slot = first; slot < last; ++slot) {
      const i32 plan = work[2 * slot], step = work[2 * slot + 1];
      if (plan != held_plan) {
        held_plan = plan;
        const T* from = images + plans[3 * plan] * image_size + place;
        const T* to = images + plans[3 * plan + 1] * image_size + place;
        if (V > 1) {
          start = load_wide(from);
          end = load_wide(to);
        } else {
          lone_start = *from;
          lone_end = *to;
        }
        if (plans[3 * plan + 2] != held_map) {
          held_map = plans[3 * plan + 2];
          const M* map = maps + (static_cast<i64>(held_map) * map_planes + (map_planes > 1 ? c : 0)) * map_plane;
          if (divisor == 1) steps = *reinterpret_cast<const Steps<M, V>*>(map + element);
          else
            for (i32 v = 0; v < V; ++v) steps.when[v] = map[(element + v) / divisor];
        }
      }
      T* shown = out + slot * image_size + place;
      if (V > 1) store_wide(shown, select<T, M>(start, end, steps.when, step));
      else *shown = static_cast<i32>(steps.when[0]) < step ? lone_end : lone_start;
    }
  }
}

#define SELECT(NAME, T, M, V)                                                                                        \
  KERNEL(NAME, (mask_select<T, M, V>), (images, maps, plans, work, out, items, chunk, planes, plane, map_planes,     \
                                        divisor),                                                                    \
         const T* images, const M* maps, const i32* plans, const i32* work, T* out, i32 items, i32 chunk, i32 planes, \
         i32 plane, i32 map_planes, i32 divisor)

// wide: 16-byte loads and stores, for planes of whole 16 bytes at aligned addresses; lone: one element a thread.
#define SELECTS(BITS, T)                                         \
  SELECT(mask_select_##BITS##_uint8_wide, T, u8, 16 / sizeof(T))  \
  SELECT(mask_select_##BITS##_uint16_wide, T, u16, 16 / sizeof(T)) \
  SELECT(mask_select_##BITS##_int32_wide, T, i32, 16 / sizeof(T)) \
  SELECT(mask_select_##BITS##_uint8_lone, T, u8, 1)               \
  SELECT(mask_select_##BITS##_uint16_lone, T, u16, 1)             \
  SELECT(mask_select_##BITS##_int32_lone, T, i32, 1)

SELECTS(32, u32)
SELECTS(16, u16)
SELECTS(8, u8)
