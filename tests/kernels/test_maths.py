"""The kernels' maths, compiled by a host compiler from the sources the device runs, against NumPy: bit for bit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.special import softmax as softmax_of

from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.launch import Layout, blend_launch, rank_launch, readout_launch, scratch_bytes, select_launch
from c2i_fast.kernels.storage import STORED, Storage, bf16_bits
from c2i_fast.perturb.order import pixel_order, step_map, step_type
from c2i_fast.perturb.passes import spread

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")

TYPES = tuple(STORED)
LAYOUTS = ("NCHW", "NHWC")
STEPS = ("uint8", "uint16", "int32")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def softmax(values):
    return softmax_of(values, axis=1)


@pytest.fixture(scope="module")
def device():
    return HostDevice()


def put(device, array, offset=0):
    """The address of a copy of the array, `offset` bytes past an aligned one; the buffer is kept alive beside it."""
    buffer = device.allocate(max(1, array.nbytes + offset))
    device.upload(array, buffer, offset)
    return buffer, buffer.pointer + offset


def masked_rows(rng, storage, channels, space, by_channel, kind, plans, items, device, misaligned):
    """Runs mask_select on random data and returns (found, expected), both as stored bits (items, elements)."""
    pixels, top = int(np.prod(space)), {"uint8": 255, "uint16": 65535, "int32": 2**20}[kind]
    floats = rng.normal(size=(2 * plans, channels, *space)).astype(np.float32) * 3
    maps = rng.integers(0, top + 1, (plans, channels if by_channel else 1, *space)).astype(kind)
    maps.reshape(-1)[0], maps.reshape(-1)[-1] = 0, top
    work = np.stack([rng.integers(0, plans, items), rng.integers(0, top + 1, items)], axis=1).astype(np.int32)
    work[-1, 1] = top
    triples = np.array([[2 * p, 2 * p + 1, p] for p in range(plans)], np.int32)
    stored = np.stack([storage.encode(image) for image in floats])
    out = device.allocate(items * stored[0].nbytes + 16)
    shift = storage.itemsize if misaligned else 0
    layout = Layout.of(storage, channels, pixels, channels if by_channel else 1)
    kept, at = zip(
        *(put(device, a) for a in (stored, np.stack([storage.arrange(m) for m in maps]), triples, work)), strict=True
    )
    launch = select_launch(
        layout,
        storage,
        kind,
        images=at[0],
        maps=at[1],
        plans=at[2],
        work=at[3],
        out=out.pointer + shift,
        items=items,
    )
    device.launch(launch)
    bits = STORED[storage.type]
    found = out.bytes[shift : shift + items * stored[0].nbytes].view(bits).reshape(items, -1)
    expected = np.stack(
        [storage.encode(np.where(maps[p] < step, floats[2 * p + 1], floats[2 * p])) for p, step in work]
    )
    assert len(kept) == 4
    return launch, found, expected


@quick
@given(
    st.sampled_from(TYPES),
    st.sampled_from(LAYOUTS),
    st.sampled_from(STEPS),
    st.integers(1, 4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 19),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_select_of_stored_bits_is_the_stored_select(
    device, type_, layout, kind, channels, space, by_channel, plans, items, misaligned, seed
):
    """Masking what is cast, quantised and laid out equals casting, quantising and laying out what is masked."""
    storage = Storage(type=type_, layout=layout, scale=0.05)
    rng = np.random.default_rng(seed)
    _, found, expected = masked_rows(rng, storage, channels, space, by_channel, kind, plans, items, device, misaligned)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("space", [(8, 16), (16, 16), (7, 9), (1, 1), (224, 224)])
def test_wide_and_lone_stores_write_the_same(device, type_, layout, space):
    storage, kernels = Storage(type=type_, layout=layout, scale=0.1), set()
    for misaligned in (False, True):
        rng = np.random.default_rng(5)
        launch, found, expected = masked_rows(rng, storage, 3, space, False, "uint8", 2, 9, device, misaligned)
        np.testing.assert_array_equal(found, expected)
        kernels.add(launch.kernel.rpartition("_")[2])
    planes = np.prod(space) * (3 if layout == "NHWC" else 1) * storage.itemsize
    assert kernels == ({"wide", "lone"} if planes % 16 == 0 else {"lone"})


def test_half_bits_are_numpys_for_every_half_and_between(device):
    """Every half, the midpoints between neighbours and their neighbours in float32: where rounding can go wrong."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = np.sort(halves[np.isfinite(halves)]).astype(np.float32)
    middles = ((halves[1:].astype(np.float64) + halves[:-1]) / 2).astype(np.float32)
    edges = np.float32([65504, 65519.996, 65520, 65535, 1e30, np.inf, -np.inf, 0.0, -0.0, 1e-45, 2**-25, 2**-24])
    values = np.concatenate(
        [halves, middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf)), edges]
    )
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(blended(device, "fp16", values), values.astype(np.float16).view(np.uint16))


@quick
@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_bf16_bits_round_to_nearest_even(device, values):
    numbers = np.array(values, np.float32)
    finite = numbers[~np.isnan(numbers)]
    if len(finite):
        np.testing.assert_array_equal(blended(device, "bf16", finite), bf16_bits(finite))
    for value, bits in zip(finite, bf16_bits(finite), strict=True):
        rounded = np.array([int(bits) << 16], np.uint32).view(np.float32)[0]
        if np.isfinite(rounded):
            below, above = (np.array([(int(bits) + d) << 16 & 0xFFFFFFFF], np.uint32).view(np.float32) for d in (-1, 1))
            for other in (below[0], above[0]):
                if np.isfinite(other):
                    assert abs(float(value) - float(rounded)) <= abs(float(value) - float(other))


@quick
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.floats(2**-10, 8, width=32))
def test_int8_is_quantize_linears_rule(device, values, scale):
    numbers = np.array(values, np.float32)
    expected = np.clip(np.rint(numbers / np.float32(scale)), -128, 127).astype(np.int8).view(np.uint8)
    np.testing.assert_array_equal(blended(device, "int8", numbers, scale), expected)


def blended(device, type_, values, scale=1.0):
    """The bits that mask_blend stores for values that a mask of zeros leaves alone."""
    images = np.stack([values, np.full_like(values, -0.0)])  # adding −0 changes nothing, the sign of 0 included
    storage = Storage(type=type_, scale=scale)
    kept, at = zip(
        *(
            put(device, a)
            for a in (
                images,
                np.array([[0, 1, 0]], np.int32),
                np.zeros((1, 1, 1), np.float32),
                np.ones((1, 1, 1), np.float32),
                np.ones((1, len(values), 1), np.float32),
                np.array([[0, 0]], np.int32),
            )
        ),
        strict=True,
    )
    out = device.allocate(len(values) * storage.itemsize)
    names = ("images", "plans", "grids", "rows", "columns", "work")
    device.launch(
        blend_launch(
            storage, 1, (1, len(values)), (1, 1), out=out.pointer, items=1, **dict(zip(names, at, strict=True))
        )
    )
    assert len(kept) == len(names)
    return device.download(out, (len(values),), STORED[type_])


@quick
@given(
    st.integers(1, 3),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from(LAYOUTS),
    st.integers(0, 2**32 - 1),
)
def test_blend_is_start_times_one_minus_m_plus_end_times_m(device, channels, space, grid, layout, seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, channels, *space)).astype(np.float32)
    masks = 2
    grids = rng.random((masks, *grid)).astype(np.float32)
    axes = [rng.random((masks, size, side)).astype(np.float32) for size, side in zip(space, grid, strict=True)]
    axes = [(a / a.sum(axis=2, keepdims=True)).astype(np.float32) for a in axes]
    work = np.array([[0, 1], [0, 0], [0, 1]], np.int32)
    kept, at = zip(
        *(put(device, a) for a in (images, np.array([[0, 1, 0]], np.int32), grids, *axes, work)), strict=True
    )
    out = device.allocate(len(work) * images[0].nbytes)
    names = ("images", "plans", "grids", "rows", "columns", "work")
    storage = Storage(layout=layout)
    device.launch(
        blend_launch(storage, channels, space, grid, out=out.pointer, items=3, **dict(zip(names, at, strict=True)))
    )
    found = out.array((3, images[0].size), np.float32)
    for row, (_, m) in zip(found, work, strict=True):
        mask = spread(grids[m], [a[m] for a in axes]).astype(np.float64)
        expected = images[0] * (1 - mask) + images[1] * mask
        expected = np.moveaxis(expected, 0, -1) if layout == "NHWC" else expected
        np.testing.assert_allclose(row, expected.ravel(), rtol=0, atol=1e-6 * max(1, np.ptp(images)))
    assert len(kept) == len(names)


def ranked(device, maps, counts, kind=None, **rule):
    """The step maps that rank_steps makes of maps (M, U), and which it refused."""
    kind = kind or step_type(len(counts) - 1)
    count, elements = maps.shape
    steps = device.allocate(maps.size * np.dtype(kind).itemsize)
    scratch = device.allocate(scratch_bytes(count, elements))
    refused, refused_at = put(device, np.zeros(count, np.int32))
    kept, at = zip(*(put(device, a) for a in (maps.astype(np.float32), np.asarray(counts, np.int32))), strict=True)
    device.launch(
        rank_launch(
            count,
            elements,
            len(counts) - 1,
            kind,
            saliency=at[0],
            counts=at[1],
            scratch=scratch.pointer,
            steps=steps.pointer,
            refused=refused_at,
            **rule,
        )
    )
    assert len(kept) == 2
    return device.download(steps, maps.shape, kind), device.download(refused, (count,), np.int32)


@quick
@given(
    st.integers(1, 4),
    st.integers(1, 300),
    st.sampled_from([1, 2, 7, 255, 256, 257]),
    st.sampled_from(["distinct", "tied", "constant", "zeros of both signs", "huge"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_ranks_are_pixel_order_and_step_map(device, maps, elements, intervals, kind, last_first, lerf, seed):
    rng = np.random.default_rng(seed)
    values = {
        "distinct": rng.normal(size=(maps, elements)),
        "tied": rng.integers(-2, 3, (maps, elements)),
        "constant": np.full((maps, elements), -3.5),
        "zeros of both signs": rng.choice([0.0, -0.0, 1e-45, -1e-45], (maps, elements)),
        "huge": rng.choice([3e38, -3e38, 1.0, 1e-38], (maps, elements)),
    }[kind].astype(np.float32)
    counts = np.sort(rng.integers(0, elements + 1, intervals + 1))
    counts[0] = 0
    found, refused = ranked(device, values, counts, last_first=last_first, lerf=lerf)
    for row, steps in zip(values, found, strict=True):
        order = pixel_order(row, "reverse-index" if last_first else "index")
        expected = step_map(order[::-1] if lerf else order, counts, row.shape)
        np.testing.assert_array_equal(steps, expected[0])
        assert steps.dtype == expected.dtype
    assert not refused.any()


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_named(device, value):
    maps = np.random.default_rng(0).normal(size=(4, 50))
    maps[2, 49] = value
    assert ranked(device, maps, [0, 25, 50])[1].tolist() == [0, 0, 1, 0]


@quick
@given(st.integers(1, 40), st.integers(1, 1200), st.booleans(), st.integers(0, 2**32 - 1))
def test_readouts_are_float64s_to_a_millionth(device, passes, classes, steep, seed):
    """Every kind at once: plain, by a scale a pass, the logit, sigmoids, and by a factor and an offset a class."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(passes, classes)) * rng.choice([0.1, 3, 30])).astype(np.float32)
    targets = rng.integers(0, classes, passes).astype(np.int32)
    weights, offsets = rng.uniform(-20 if steep else 0.1, 20, classes), rng.uniform(-50, 50, classes)
    scales = np.ones((passes, 6), np.float32)
    scales[:, 1] = rng.uniform(0.05, 20, passes)
    scales[:, 3] = rng.uniform(0.05, 20, passes)
    kinds = np.array([0, 0, 1, 2, 3, 4], np.int32)
    found = read_on(device, logits, targets, kinds, scales, weights, offsets)
    z, here = logits.astype(np.float64), (np.arange(passes), targets)
    wide = scales.astype(np.float64)
    mapped = weights * z + offsets
    assert np.abs(found[:, 0] - softmax(z)[here]).max() <= 1e-6
    assert np.abs(found[:, 1] - softmax(z * wide[:, [1]])[here]).max() <= 1e-6
    np.testing.assert_array_equal(found[:, 2], logits[here])
    assert np.abs(found[:, 3] - expit(z[here] * wide[:, 3])).max() <= 1e-6
    assert np.abs(found[:, 4] - softmax(mapped)[here]).max() <= 1e-6
    assert np.abs(found[:, 5] - expit(mapped[here])).max() <= 1e-6


def test_a_class_map_of_infinite_logits_is_that_of_capped_ones(device):
    """As on the host: a weight of 0 on an infinite logit is no NaN."""
    logits = np.array([[np.inf, 0.0, -np.inf], [-np.inf, 1e38, 3.0]], np.float32)
    weights, offsets = np.array([0.0, 2.0, 1.0]), np.array([1.0, 0.5, 0.0])
    kinds, targets = np.array([3, 4], np.int32), np.array([1, 0], np.int32)
    found = read_on(device, logits, targets, kinds, np.ones((2, 2), np.float32), weights, offsets)
    mapped = np.clip(logits.astype(np.float64), -1e30, 1e30) * weights + offsets
    np.testing.assert_allclose(found[:, 0], softmax(mapped)[[0, 1], targets], atol=1e-6)
    np.testing.assert_allclose(found[:, 1], expit(mapped[[0, 1], targets]), atol=1e-6)


def read_on(device, logits, targets, kinds, scales, weights, offsets):
    """The read-outs (P, R) that the kernel makes."""
    arrays = {"logits": logits, "targets": targets, "kinds": kinds, "scales": scales}
    arrays |= {"weights": weights, "offsets": offsets}
    kept = {name: put(device, array) for name, array in arrays.items()}
    out = device.allocate(len(logits) * len(kinds) * 4)
    at = {name: address for name, (_, address) in kept.items()}
    device.launch(readout_launch(*logits.shape, len(kinds), out=out.pointer, **at))
    return out.array((len(logits), len(kinds)), np.float32)
