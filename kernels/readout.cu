// Logits → the target's read-outs, several at once: a few floats a pass leave the device, not K logits.
//
//   logits  (passes, classes) float32
//   targets (passes) int32
//   kinds   (readouts) int32: 0 softmax of logits × scale, 1 the logit, 2 sigmoid of logit × scale
//   scales  (readouts) float32: 1 for raw, 1/T for temperature scaling
//   out     (passes, readouts) float32
//
// One warp a pass; terms in float, their sum in double, so that the answer stays within 1e-6 of float64's. Rung 2 of the
// ladder in README.md.
#include "launch.cuh"

enum Kind { SOFTMAX = 0, LOGIT = 1, SIGMOID = 2 };

DEVICE void readout(const float* logits, const i32* targets, const i32* kinds, const float* scales, float* out,
                    i32 passes, i32 classes, i32 readouts) {
  const i32 lane = thread() % LANES, warps = threads() / LANES;
  for (i32 pass = block_x() * warps + thread() / LANES; pass < passes; pass += blocks_x() * warps) {
    const float* own = logits + static_cast<i64>(pass) * classes;
    const float followed = own[targets[pass]];
    float largest = followed;
    for (i32 k = lane; k < classes; k += LANES) largest = own[k] > largest ? own[k] : largest;
    largest = warp_max(largest);
    for (i32 r = 0; r < readouts; ++r) {
      const float scale = scales[r];
      float value = followed;
      if (kinds[r] == SIGMOID) value = 1.0f / (1.0f + expf(-followed * scale));
      if (kinds[r] == SOFTMAX) {
        double total = 0.0;
        for (i32 k = lane; k < classes; k += LANES) total += expf((own[k] - largest) * scale);
        value = static_cast<float>(expf((followed - largest) * scale) / warp_sum(total));
      }
      if (lane == 0) out[static_cast<i64>(pass) * readouts + r] = value;
    }
  }
}

KERNEL(readout_fp32, (readout), (logits, targets, kinds, scales, out, passes, classes, readouts), const float* logits,
       const i32* targets, const i32* kinds, const float* scales, float* out, i32 passes, i32 classes, i32 readouts)
