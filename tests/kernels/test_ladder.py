"""The rungs of the ladder write what the product writes: a rung that is wrong would be timed for nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.launch import Launch, Layout, select_launch
from c2i_fast.kernels.storage import Storage

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")


@pytest.mark.parametrize("rung", [1, 2, 3])
def test_a_rung_writes_what_the_product_writes(rung):
    rng = np.random.default_rng(rung)
    device, storage, layout = HostDevice(), Storage(type="fp16"), Layout.of(Storage(), 3, 8 * 6, 1)
    arrays = {
        "images": rng.integers(0, 2**16, (4, 3 * 48), np.uint16),
        "maps": rng.integers(0, 9, (2, 48)).astype(np.uint8),
        "plans": np.array([[0, 1, 0], [2, 3, 1]], np.int32),
        "work": np.stack([rng.integers(0, 2, 11), rng.integers(0, 9, 11)], axis=1).astype(np.int32),
    }
    buffers = {name: device.allocate(array.nbytes) for name, array in arrays.items()}
    for name, array in arrays.items():
        device.upload(array, buffers[name])
    outs = [device.allocate(11 * 3 * 48 * 2) for _ in range(2)]
    at = {name: buffer.pointer for name, buffer in buffers.items()}
    product = select_launch(layout, storage, "uint8", out=outs[0].pointer, items=11, chunk=4, **at)
    device.launch(product)
    each, rows = {1: (1, 11), 2: (8, 11), 3: (8, 3)}[rung]
    device.launch(
        Launch(
            source="ladder/mask_select",
            kernel=f"mask_select_rung{rung}",
            grid=(-(-3 * 48 // (128 * each)), rows),
            block=128,
            arguments=(*product.arguments[:4], outs[1].pointer, *product.arguments[5:]),
        )
    )
    np.testing.assert_array_equal(outs[1].bytes, outs[0].bytes)
    assert outs[0].bytes.any()
