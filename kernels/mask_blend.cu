// Soft masks: out[slot] = start·(1 − m) + end·m, m the small grid of a mask spread over the image by two small matrices.
//
//   images  (I, channels·height·width) float32, NCHW
//   plans   (·, 3) int32: start and end (rows of images); the third is not looked at
//   grids   (masks, g0, g1), rows (masks, height, g0), columns (masks, width, g1) float32
//   work    (items, 2) int32: plan, mask
//   out     (items, channels·height·width) in the engine's type, NCHW, or NHWC where `last` is 1
//
// Compiled with --fmad=false: products are rounded before they are added, as NumPy does it. A signal is an image of
// height 1 whose rows are ones. No mask is ever stored. Rung 2 of the ladder in README.md.
#include "launch.cuh"

template <class Type>
DEVICE void mask_blend(const float* images, const i32* plans, const float* grids, const float* rows,
                       const float* columns, const i32* work, typename Type::Stored* out, i32 items, i32 channels,
                       i32 height, i32 width, i32 g0, i32 g1, i32 last, float scale) {
  const i32 pixel = block_x() * threads() + thread(), pixels = height * width, slot = block_y();
  if (pixel >= pixels || slot >= items) return;
  const i32 plan = work[2 * slot], which = work[2 * slot + 1], y = pixel / width, x = pixel % width;
  const float mask = spread(grids + static_cast<i64>(which) * g0 * g1,
                            rows + (static_cast<i64>(which) * height + y) * g0,
                            columns + (static_cast<i64>(which) * width + x) * g1, g0, g1);
  const i64 size = static_cast<i64>(channels) * pixels;
  const float* start = images + plans[3 * plan] * size;
  const float* end = images + plans[3 * plan + 1] * size;
  for (i32 c = 0; c < channels; ++c) {
    const i64 from = static_cast<i64>(c) * pixels + pixel, to = last ? static_cast<i64>(pixel) * channels + c : from;
    out[slot * size + to] = Type::store(blend(start[from], end[from], mask), scale);
  }
}

#define BLEND(NAME, TYPE)                                                                                           \
  KERNEL(NAME, (mask_blend<TYPE>), (images, plans, grids, rows, columns, work, out, items, channels, height, width, \
                                    g0, g1, last, scale),                                                           \
         const float* images, const i32* plans, const float* grids, const float* rows, const float* columns,        \
         const i32* work, TYPE::Stored* out, i32 items, i32 channels, i32 height, i32 width, i32 g0, i32 g1,        \
         i32 last, float scale)

BLEND(mask_blend_fp32, Fp32)
BLEND(mask_blend_fp16, Fp16)
BLEND(mask_blend_bf16, Bf16)
BLEND(mask_blend_int8, Int8)
