// Logits → the target's read-outs, several at once: a few floats a pass leave the device, not K logits.
//
//   logits  (passes, classes) float32
//   targets (passes) int32
//   kinds   (readouts) int32, as below
//   scales  (passes, readouts) float32: 1 for raw, 1/T for a temperature, another for every pass where T depends on
//           what the pass shows
//   weights, offsets (classes) float64: of the kinds that map every class by itself, w·z + b; else not looked at
//   out     (passes, readouts) float32
//
// One warp a pass; terms in float, their sum in double, so that the answer stays within 1e-6 of float64's. A scale is
// common to all classes, and its rounding cancels; w·z + b is not, and is made in double. Rung 2 of the ladder in
// README.md.
#include "launch.cuh"

enum Kind { SOFTMAX = 0, LOGIT = 1, SIGMOID = 2, MAPPED_SOFTMAX = 3, MAPPED_SIGMOID = 4 };

// Logits beyond ±1e30 are as good as infinite, and the product with a weight stays finite.
DEVICE double mapped(const float* logits, const double* weights, const double* offsets, i32 k) {
  const float z = logits[k], low = z < -1e30f ? -1e30f : z, cut = low > 1e30f ? 1e30f : low;
  return weights[k] * static_cast<double>(cut) + offsets[k];
}

// The share of the target in a softmax of (z − largest) · scale.
DEVICE float share(const float* logits, i32 classes, i32 target, float largest, float scale) {
  double total = 0.0;
  for (i32 k = thread() % LANES; k < classes; k += LANES) total += expf((logits[k] - largest) * scale);
  return static_cast<float>(expf((logits[target] - largest) * scale) / warp_sum(total));
}

// The same of w·z + b. Any shift near the largest serves; the sums themselves are not rounded to float before it.
DEVICE float mapped_share(const float* logits, const double* weights, const double* offsets, i32 classes, i32 target) {
  const double followed = mapped(logits, weights, offsets, target);
  float largest = static_cast<float>(followed);
  for (i32 k = thread() % LANES; k < classes; k += LANES) {
    const float value = static_cast<float>(mapped(logits, weights, offsets, k));
    largest = value > largest ? value : largest;
  }
  largest = warp_max(largest);
  double total = 0.0;
  for (i32 k = thread() % LANES; k < classes; k += LANES)
    total += expf(static_cast<float>(mapped(logits, weights, offsets, k) - largest));
  return static_cast<float>(expf(static_cast<float>(followed - largest)) / warp_sum(total));
}

DEVICE float sigmoid(float value) { return 1.0f / (1.0f + expf(-value)); }

DEVICE void readout(const float* logits, const i32* targets, const i32* kinds, const float* scales,
                    const double* weights, const double* offsets, float* out, i32 passes, i32 classes, i32 readouts) {
  const i32 lane = thread() % LANES, warps = threads() / LANES;
  for (i32 pass = block_x() * warps + thread() / LANES; pass < passes; pass += blocks_x() * warps) {
    const float* own = logits + static_cast<i64>(pass) * classes;
    const i32 target = targets[pass];
    const float followed = own[target];
    float largest = followed;
    for (i32 k = lane; k < classes; k += LANES) largest = own[k] > largest ? own[k] : largest;
    largest = warp_max(largest);
    for (i32 r = 0; r < readouts; ++r) {
      const i64 place = static_cast<i64>(pass) * readouts + r;
      float value = followed;
      if (kinds[r] == SOFTMAX) value = share(own, classes, target, largest, scales[place]);
      if (kinds[r] == SIGMOID) value = sigmoid(followed * scales[place]);
      if (kinds[r] == MAPPED_SOFTMAX) value = mapped_share(own, weights, offsets, classes, target);
      if (kinds[r] == MAPPED_SIGMOID) value = sigmoid(static_cast<float>(mapped(own, weights, offsets, target)));
      if (lane == 0) out[place] = value;
    }
  }
}

KERNEL(readout_fp32, (readout), (logits, targets, kinds, scales, weights, offsets, out, passes, classes, readouts),
       const float* logits, const i32* targets, const i32* kinds, const float* scales, const double* weights,
       const double* offsets, float* out, i32 passes, i32 classes, i32 readouts)
