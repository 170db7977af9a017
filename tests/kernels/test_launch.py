"""Launch geometry: every element of every slot is written by exactly one thread, and addresses decide the width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2i_fast.kernels.launch import (
    MOST_READOUT_BLOCKS,
    Layout,
    blend_launch,
    rank_launch,
    readout_launch,
    scratch_bytes,
    select_launch,
)
from c2i_fast.kernels.storage import Storage

ADDRESSES = {"images": 256, "maps": 512, "plans": 1024, "work": 2048}


@given(
    st.sampled_from(["fp32", "fp16", "bf16", "int8"]),
    st.sampled_from(["NCHW", "NHWC"]),
    st.integers(1, 4),
    st.integers(1, 70_000),
    st.integers(1, 5000),
    st.integers(1, 16),
    st.integers(0, 15),
)
def test_select_covers_each_element_of_each_slot_once(type_, layout, channels, pixels, items, chunk, shift):
    storage = Storage(type=type_, layout=layout)
    shape = Layout.of(storage, channels, pixels, 1)
    launch = select_launch(shape, storage, "uint8", out=4096 + shift, items=items, chunk=chunk, **ADDRESSES)
    wide = launch.kernel.endswith("wide")
    each = 16 // storage.itemsize if wide else 1
    tiles, chunks = launch.grid
    assert (tiles - 1) * launch.block * each < shape.plane <= tiles * launch.block * each
    assert (chunks - 1) * chunk < items <= chunks * chunk
    assert wide == (shift == 0 and shape.plane * storage.itemsize % 16 == 0)
    assert shape.planes * shape.plane == channels * pixels
    assert launch.kernel == f"mask_select_{8 * storage.itemsize}_uint8_{'wide' if wide else 'lone'}"
    assert not launch.together


@pytest.mark.parametrize("name", ["images", "out"])
def test_one_misaligned_address_is_enough_for_single_stores(name):
    storage = Storage()
    addresses = ADDRESSES | {"out": 4096}
    addresses[name] += 4
    shape = Layout.of(storage, 3, 64, 1)
    assert select_launch(shape, storage, "uint8", items=1, **addresses).kernel.endswith("lone")


def test_layouts():
    nchw, nhwc = Storage(), Storage(layout="NHWC")
    assert Layout.of(nchw, 3, 10, 1) == Layout(planes=3, plane=10, map_planes=1, divisor=1)
    assert Layout.of(nchw, 3, 10, 3) == Layout(planes=3, plane=10, map_planes=3, divisor=1)
    assert Layout.of(nhwc, 3, 10, 3) == Layout(planes=1, plane=30, map_planes=1, divisor=1)


def test_numbers_have_the_widths_of_the_kernels_parameters():
    launch = readout_launch(5, 10, 2, logits=1, targets=2, kinds=3, scales=4, out=5)
    assert [type(a) for a in launch.arguments] == [int] * 7 + [np.int32] * 3
    assert launch.arguments[4:7] == (0, 0, 5)
    addresses = dict.fromkeys(("images", "plans", "grids", "rows", "columns", "work", "out"), 1)
    launch = blend_launch(Storage(layout="NHWC", type="int8", scale=0.5), 3, (4, 5), (2, 2), items=7, **addresses)
    assert [int(a) for a in launch.arguments[7:14]] == [7, 3, 4, 5, 2, 2, 1]
    assert launch.arguments[14] == np.float32(0.5)
    assert isinstance(launch.arguments[14], np.float32)
    assert launch.grid == (1, 7)


@given(st.integers(1, 10**7))
def test_readout_never_asks_for_more_blocks_than_it_can_loop_over(passes):
    blocks, rows = readout_launch(passes, 10, 1, logits=1, targets=1, kinds=1, scales=1, out=1).grid
    assert rows == 1
    assert 1 <= blocks <= min(MOST_READOUT_BLOCKS, passes)


def test_ranking_is_a_block_a_map_with_room_to_sort():
    launch = rank_launch(7, 100, 3, "uint8", saliency=1, counts=1, scratch=1, steps=1, refused=1)
    assert launch.grid == (7, 1)
    assert launch.together
    assert launch.block % 32 == 0
    assert scratch_bytes(7, 100) == 7 * 100 * 16
