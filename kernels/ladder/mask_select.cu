// The rungs below the product's mask_select, with its signature for 16-bit elements and uint8 steps. For timing only.
#include "../launch.cuh"

// 1: one thread writes one value, and reads all it needs for it.
DEVICE void rung1(const u16* images, const u8* maps, const i32* plans, const i32* work, u16* out, i32 items, i32,
                  i32 planes, i32 plane, i32, i32) {
  const i64 size = static_cast<i64>(planes) * plane, i = static_cast<i64>(block_x()) * threads() + thread();
  const i32 slot = block_y();
  if (i >= size || slot >= items) return;
  const i32* plan = plans + 3 * work[2 * slot];
  const bool changed = static_cast<i32>(maps[static_cast<i64>(plan[2]) * plane + i % plane]) < work[2 * slot + 1];
  out[slot * size + i] = images[plan[changed ? 1 : 0] * size + i];
}

// 2: sixteen bytes a thread.
DEVICE void rung2(const u16* images, const u8* maps, const i32* plans, const i32* work, u16* out, i32 items, i32,
                  i32 planes, i32 plane, i32, i32) {
  const i64 size = static_cast<i64>(planes) * plane, i = (static_cast<i64>(block_x()) * threads() + thread()) * 8;
  const i32 slot = block_y();
  if (i >= size || slot >= items) return;
  const i32* plan = plans + 3 * work[2 * slot];
  const u8* when = maps + static_cast<i64>(plan[2]) * plane + i % plane;
  store_wide(out + slot * size + i, select<u16, u8>(load_wide(images + plan[0] * size + i),
                                                    load_wide(images + plan[1] * size + i), when, work[2 * slot + 1]));
}

// 3: what was read serves `chunk` slots in a row.
DEVICE void rung3(const u16* images, const u8* maps, const i32* plans, const i32* work, u16* out, i32 items, i32 chunk,
                  i32 planes, i32 plane, i32, i32) {
  const i64 size = static_cast<i64>(planes) * plane, i = (static_cast<i64>(block_x()) * threads() + thread()) * 8;
  if (i >= size) return;
  const i32 first = block_y() * chunk, last = smaller(first + chunk, items);
  i32 held = -1;
  Wide start, end;
  u8 when[8];
  for (i32 slot = first; slot < last; ++slot) {
    if (work[2 * slot] != held) {
      held = work[2 * slot];
      start = load_wide(images + plans[3 * held] * size + i);
      end = load_wide(images + plans[3 * held + 1] * size + i);
      for (i32 j = 0; j < 8; ++j) when[j] = maps[static_cast<i64>(plans[3 * held + 2]) * plane + i % plane + j];
    }
    store_wide(out + slot * size + i, select<u16, u8>(start, end, when, work[2 * slot + 1]));
  }
}

#define RUNG(NAME)                                                                                                  \
  KERNEL(mask_select_##NAME, NAME, (images, maps, plans, work, out, items, chunk, planes, plane, map_planes, divisor), \
         const u16* images, const u8* maps, const i32* plans, const i32* work, u16* out, i32 items, i32 chunk,      \
         i32 planes, i32 plane, i32 map_planes, i32 divisor)

RUNG(rung1)
RUNG(rung2)
RUNG(rung3)
