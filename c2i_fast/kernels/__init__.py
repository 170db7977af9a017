"""CUDA kernels from Python: their sources, compilers, launches and the devices that run them.

`sources` finds the top-level kernels/; `launch` turns shapes into launches; `nvrtc` compiles for a GPU that need not be
here and `cuda` runs them on one; `host` does both on the CPU, from the same files. `storage` is how an image lies in an
engine's input, and `passes` puts it all behind `MaskedPasses`: `blocks` is its schedule, `stage` the memory of a block,
`replays` what is recorded; `ranking` ranks maps.
"""
