// What a masked value is. Device code compiles this text, and so does a host compiler: the same text, the same bits.
//
// Images are rows of `planes` × `plane` elements: NCHW has C planes of H·W, NHWC one plane of H·W·C. An element's place
// in its step map is its index in the plane ÷ `divisor`: 1 where every element of a plane has its own step (NCHW, or
// channel values one by one), C where all channels of a pixel change together in NHWC.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define HD __host__ __device__ __forceinline__
#else
#define HD inline
#endif

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;

// 16 bytes of an image, whatever its elements are.
struct alignas(16) Wide {
  u32 word[4];
};

HD i32 smaller(i32 a, i32 b) { return a < b ? a : b; }

// Which bits of a 32-bit word show `end`: element j, sizeof(T) bytes, wherever when[j] < step.
template <class T, class M>
HD u32 end_bits(const M* when, i32 step) {
  constexpr i32 elements = 4 / sizeof(T), bits = 8 * sizeof(T);
  constexpr u32 ones = 0xffffffffu >> (32 - bits);
  u32 mask = 0;
  for (i32 j = 0; j < elements; ++j) mask |= static_cast<i32>(when[j]) < step ? ones << (j * bits) : 0u;
  return mask;
}

// A select moves bits and never looks at values, so it is exact in every type.
template <class T, class M>
HD Wide select(const Wide& start, const Wide& end, const M* when, i32 step) {
  Wide shown;
  for (i32 w = 0; w < 4; ++w) {
    const u32 mask = end_bits<T, M>(when + w * (4 / sizeof(T)), step);
    shown.word[w] = (start.word[w] & ~mask) | (end.word[w] & mask);
  }
  return shown;
}

// A soft mask at one pixel: its row's weights times the grid times its column's weights, rows first.
HD float spread(const float* grid, const float* row, const float* column, i32 rows, i32 columns) {
  float mask = 0.0f;
  for (i32 j = 0; j < columns; ++j) {
    float along = 0.0f;
    for (i32 i = 0; i < rows; ++i) along += row[i] * grid[i * columns + j];
    mask += column[j] * along;
  }
  return mask;
}

HD float blend(float start, float end, float mask) { return start * (1.0f - mask) + end * mask; }

HD u32 bits_of(float value) {
  union {
    float number;
    u32 bits;
  } both = {value};
  return both.bits;
}

HD float float_of(u32 bits) {
  union {
    u32 bits;
    float number;
  } both = {bits};
  return both.number;
}

// Bits that fall as the number rises (largest first), −0 like +0.
HD u32 descending_key(float value) {
  u32 bits = bits_of(value);
  if (bits == 0x80000000u) bits = 0u;
  return ~(bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u));
}

HD bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

// The number of j ≥ 1 with counts[j] ≤ rank; counts (intervals + 1) never fall.
HD i32 step_of_rank(const i32* counts, i32 intervals, i32 rank) {
  i32 low = 0, high = intervals;
  while (low < high) {
    const i32 middle = (low + high + 1) / 2;
    if (counts[middle] <= rank) low = middle;
    else high = middle - 1;
  }
  return low;
}

// Engine input types a float can be stored as. Halves go through integers: no header, and the host does the same.
struct Fp32 {
  typedef float Stored;
  static HD float store(float value, float) { return value; }
};

struct Fp16 {
  typedef u16 Stored;
  static HD u16 store(float value, float) {  // round to nearest, ties to even
    const u32 bits = bits_of(value), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return static_cast<u16>(sign | 0x7e00u);
    if (size >= 0x477ff000u) return static_cast<u16>(sign | 0x7c00u);  // 65520 and above round to infinity
    if (size < 0x38800000u) {  // below 2^-14 the spacing is 2^-24: adding 0.5 rounds there
      const u32 rounded = bits_of(float_of(size) + 0.5f) - bits_of(0.5f);
      return static_cast<u16>(sign | rounded);
    }
    return static_cast<u16>(sign | ((size + 0x0fffu + ((size >> 13) & 1u) - 0x38000000u) >> 13));
  }
};

struct Bf16 {
  typedef u16 Stored;
  static HD u16 store(float value, float) {  // round to nearest, ties to even
    const u32 bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<u16>((bits >> 16) | 0x40u);
    return static_cast<u16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

struct Int8 {
  typedef i8 Stored;
  static HD i8 store(float value, float scale) {  // value ÷ scale, ties to even, saturated: QuantizeLinear's rule
    const float steps = value / scale;
    if (!(steps > -128.0f)) return -128;
    if (steps >= 127.0f) return 127;
    const float magic = 12582912.0f;  // 1.5 · 2^23: adding it leaves no fraction bits
    return static_cast<i8>(static_cast<i32>((steps + magic) - magic));
  }
};
