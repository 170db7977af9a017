// How one text becomes a kernel on the device and a function on the host.
//
// KERNEL(name, body, (arguments), parameters…) is `extern "C" __global__ void name(parameters…)` for CUDA. For a host
// compiler it is `extern "C" void name(const i32 launch[3], parameters…)`, which runs every thread of a grid of
// launch[0] × launch[1] blocks of launch[2] threads, one after the other. Kernels whose threads work together are run
// there with blocks of one thread: a warp then has one lane and a barrier nothing to wait for.
#pragma once

#include "mask_core.cuh"

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#define DEVICE __device__ __forceinline__
#define SHARED __shared__
#define KERNEL(NAME, BODY, ARGUMENTS, ...) \
  extern "C" __global__ void NAME(__VA_ARGS__) { BODY ARGUMENTS; }

constexpr i32 LANES = 32;
DEVICE i32 block_x() { return static_cast<i32>(blockIdx.x); }
DEVICE i32 block_y() { return static_cast<i32>(blockIdx.y); }
DEVICE i32 blocks_x() { return static_cast<i32>(gridDim.x); }
DEVICE i32 thread() { return static_cast<i32>(threadIdx.x); }
DEVICE i32 threads() { return static_cast<i32>(blockDim.x); }
DEVICE void barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }

// One instruction each: a plain assignment was split into four stores of a word.
DEVICE Wide load_wide(const void* from) {
  const uint4 words = *static_cast<const uint4*>(from);
  return {{words.x, words.y, words.z, words.w}};
}

DEVICE void store_wide(void* to, const Wide& value) {
  __stwb(static_cast<uint4*>(to), make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]));
}

DEVICE float warp_max(float value) {
  for (i32 apart = LANES / 2; apart; apart /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, value, apart);
    value = other > value ? other : value;
  }
  return value;
}

DEVICE double warp_sum(double value) {
  for (i32 apart = LANES / 2; apart; apart /= 2) value += __shfl_xor_sync(0xffffffffu, value, apart);
  return value;
}

// The lanes of a warp that hold the same digit: how many, and how many of them come before this one.
struct Peers {
  i32 before, count;
};

DEVICE Peers peers_of(u32 digit, bool active) {
  const u32 present = __ballot_sync(0xffffffffu, active);
  if (!active) return {0, 0};
  const u32 same = __match_any_sync(present, digit);
  return {__popc(same & ((1u << (thread() % LANES)) - 1u)), __popc(same)};
}

#else

#include <cmath>

#define DEVICE inline
#define SHARED static thread_local
#define KERNEL(NAME, BODY, ARGUMENTS, ...)                                                  \
  extern "C" void NAME(const i32* launch, __VA_ARGS__) {                                    \
    here.blocks = launch[0];                                                                \
    here.threads = launch[2];                                                               \
    for (here.y = 0; here.y < launch[1]; ++here.y)                                          \
      for (here.x = 0; here.x < launch[0]; ++here.x)                                        \
        for (here.thread = 0; here.thread < launch[2]; ++here.thread) BODY ARGUMENTS;       \
  }

static thread_local struct {
  i32 x, y, thread, blocks, threads;
} here;

constexpr i32 LANES = 1;
inline i32 block_x() { return here.x; }
inline i32 block_y() { return here.y; }
inline i32 blocks_x() { return here.blocks; }
inline i32 thread() { return here.thread; }
inline i32 threads() { return here.threads; }
inline void barrier() {}
inline void warp_barrier() {}
inline Wide load_wide(const void* from) { return *static_cast<const Wide*>(from); }
inline void store_wide(void* to, const Wide& value) { *static_cast<Wide*>(to) = value; }
inline float warp_max(float value) { return value; }
inline double warp_sum(double value) { return value; }

struct Peers {
  i32 before, count;
};

inline Peers peers_of(u32, bool active) { return {0, active ? 1 : 0}; }

#endif
