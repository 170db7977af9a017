// Saliency maps → step maps, many maps a launch: block m ranks map m.
//
// Stable (value descending, index ascending; descending with `last_first`): a least-significant-digit radix sort over
// order-preserving bits, four passes of eight bits. A warp owns one contiguous segment, so that a strip of 32 neighbours
// keeps its order by lane and segments keep theirs by warp. The step of rank r is the number of j ≥ 1 with
// counts[j] ≤ r; LeRF takes elements − 1 − r, the exact reversal. A map with a NaN or an infinity is named in `refused`.
//
//   saliency (maps, elements) float32
//   counts   (intervals + 1) int32
//   scratch  (maps, 4, elements) uint32
//   steps    (maps, elements) uint8, uint16 or int32
//   refused  (maps) int32: 1 where the map is not finite
//
// Rung 3 of the ladder in README.md.
#include "launch.cuh"

constexpr i32 DIGITS = 256, MOST_WARPS = 32, MOST_THREADS = MOST_WARPS * LANES;

struct Segment {
  i32 begin, end, warp, warps;
};

DEVICE Segment segment_of(i32 elements) {
  const i32 warps = threads() / LANES, warp = thread() / LANES;
  const i32 strips = (elements + warps * LANES - 1) / (warps * LANES);
  return {smaller(warp * strips * LANES, elements), smaller((warp + 1) * strips * LANES, elements), warp, warps};
}

// Exclusive sums over counters, digit by digit and warp by warp: where each warp's elements of each digit will begin.
DEVICE void scan(u32* counters, u32* partial, i32 total) {
  const i32 each = (total + threads() - 1) / threads();
  const i32 begin = smaller(thread() * each, total), end = smaller(begin + each, total);
  u32 own = 0;
  for (i32 i = begin; i < end; ++i) own += counters[i];
  partial[thread()] = own;
  barrier();
  for (i32 apart = 1; apart < threads(); apart *= 2) {
    const u32 before = thread() >= apart ? partial[thread() - apart] : 0u;
    barrier();
    partial[thread()] += before;
    barrier();
  }
  u32 running = partial[thread()] - own;
  for (i32 i = begin; i < end; ++i) {
    const u32 count = counters[i];
    counters[i] = running;
    running += count;
  }
  barrier();
}

DEVICE void sort_by_digit(const u32* keys, const u32* places, u32* sorted_keys, u32* sorted_places, i32 elements,
                          i32 shift, u32* counters, u32* partial) {
  const Segment own = segment_of(elements);
  for (i32 i = thread(); i < DIGITS * own.warps; i += threads()) counters[i] = 0;
  barrier();
  for (i32 strip = own.begin; strip < own.end; strip += LANES) {
    const i32 i = strip + thread() % LANES;
    const u32 digit = i < own.end ? (keys[i] >> shift) % DIGITS : 0u;
    const Peers peers = peers_of(digit, i < own.end);
    if (peers.count && !peers.before) counters[digit * own.warps + own.warp] += peers.count;
    warp_barrier();
  }
  barrier();
  scan(counters, partial, DIGITS * own.warps);
  for (i32 strip = own.begin; strip < own.end; strip += LANES) {
    const i32 i = strip + thread() % LANES;
    const u32 digit = i < own.end ? (keys[i] >> shift) % DIGITS : 0u;
    const Peers peers = peers_of(digit, i < own.end);
    u32* counter = counters + digit * own.warps + own.warp;
    const u32 place = *counter + peers.before;
    if (peers.count) {
      sorted_keys[place] = keys[i];
      sorted_places[place] = places[i];
    }
    warp_barrier();
    if (peers.count && !peers.before) *counter += peers.count;
    warp_barrier();
  }
  barrier();
}

template <class M>
DEVICE void rank_steps(const float* saliency, const i32* counts, u32* scratch, M* steps, i32* refused, i32 elements,
                       i32 intervals, i32 last_first, i32 lerf) {
  SHARED u32 counters[DIGITS * MOST_WARPS];
  SHARED u32 partial[MOST_THREADS];
  const i64 map = block_x();
  const float* values = saliency + map * elements;
  u32* keys = scratch + map * 4 * elements;
  u32 *places = keys + elements, *other_keys = places + elements, *other_places = other_keys + elements;
  for (i32 i = thread(); i < elements; i += threads()) {
    const i32 place = last_first ? elements - 1 - i : i;
    if (!is_finite(values[place])) refused[map] = 1;
    keys[i] = descending_key(values[place]);
    places[i] = place;
  }
  barrier();
  for (i32 shift = 0; shift < 32; shift += 16) {
    sort_by_digit(keys, places, other_keys, other_places, elements, shift, counters, partial);
    sort_by_digit(other_keys, other_places, keys, places, elements, shift + 8, counters, partial);
  }
  for (i32 rank = thread(); rank < elements; rank += threads())
    steps[map * elements + places[rank]] =
        static_cast<M>(step_of_rank(counts, intervals, lerf ? elements - 1 - rank : rank));
}

#define RANK(NAME, M)                                                                                          \
  KERNEL(NAME, (rank_steps<M>), (saliency, counts, scratch, steps, refused, elements, intervals, last_first, lerf), \
         const float* saliency, const i32* counts, u32* scratch, M* steps, i32* refused, i32 elements,         \
         i32 intervals, i32 last_first, i32 lerf)

RANK(rank_steps_uint8, u8)
RANK(rank_steps_uint16, u16)
RANK(rank_steps_int32, i32)
