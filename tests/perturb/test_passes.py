"""One file for every implementation of masked passes on every engine: the seam's contract, and its definition by loops.

The networks answer with their own input, so the logits are the masked, normalised image and equality can be exact.
"""

from __future__ import annotations

import functools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.export.open import GraphOpener
from c2i_fast.kernels.engine import HostEngine
from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.perturb.order import step_type
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses, spread
from c2i_fast.types import EngineConfig, PerturbationPlan, Preprocessing
from tests import nets


def kernels_on_the_host(opener, contract, batch):
    """The GPU's schedule and kernels, run on the CPU, in front of the fused graph."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels with")
    device = HostDevice()
    engine = HostEngine(opener("fused", ""), contract, contract.batch or batch, device)
    return CudaPasses(device, engine, contract)


IMPLEMENTATIONS = {"reference": ReferencePasses, "graph": GraphPasses, "cuda": kernels_on_the_host}
ENGINES = ("onnxruntime", "openvino", "torch")
PAIRS = [pytest.param(i, e, id=f"{i}-{e}") for e in ENGINES for i in IMPLEMENTATIONS]

RGB = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = Preprocessing(mean=(0.4, 0.45, 0.5), std=(0.0039, 0.1, 0.7), bgr=True, drop_class=1)
IDENTITIES = {
    "rgb": lambda torch: nets.identity_net(3, (5, 4), preprocessing=RGB, torch=torch),
    "bare": lambda torch: nets.identity_net(1, (4, 3), torch=torch),
    "signal": lambda torch: nets.identity_net(
        2, (11,), preprocessing=Preprocessing(mean=(0.1, -2.0), std=(0.5, 3.0)), torch=torch
    ),
    "caffe": lambda torch: nets.identity_net(3, (4, 5), preprocessing=CAFFE, torch=torch),
    "fixed": lambda torch: nets.identity_net(3, (4, 3), preprocessing=RGB, batch=6, torch=torch),
    "volume": lambda torch: nets.identity_net(2, (2, 3, 2), preprocessing=Preprocessing(mean=(0.3,)), torch=torch),
    "some statistics": lambda torch: nets.identity_net(
        3, (2, 3), preprocessing=Preprocessing(mean=(0.0, 0.4, 0.0), std=(1.0, 1.0, 0.5)), torch=torch
    ),
    "one value": lambda torch: nets.identity_net(2, (1, 1), torch=torch),
}


@functools.cache
def opened(implementation: str, engine: str, net: str, batch: int):
    """The passes of one identity network; kept, because opening is what takes time."""
    classifier = IDENTITIES[net](engine == "torch")
    config = EngineConfig(engine=engine, threads=1, batch_size=batch)
    return IMPLEMENTATIONS[implementation](GraphOpener(classifier, config), classifier.contract, batch)


@pytest.fixture(params=[pytest.param(p.values, id=p.id) for p in PAIRS])
def passes_of(request):
    """(net, batch = 8) → the passes of one implementation on one engine."""
    implementation, engine = request.param
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    make = functools.partial(opened, implementation, engine)
    return lambda net, batch=8: make(net, batch)


def on_engine(implementation: str, engine: str, classifier, batch: int = 8):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    config = EngineConfig(engine=engine, threads=1, batch_size=batch)
    return IMPLEMENTATIONS[implementation](GraphOpener(classifier, config), classifier.contract, batch)


def random_plan(rng, contract, intervals: int, *, by_channel: bool = False, spread_of_values: float = 1.0):
    """Random ends, and a step map that holds 0 and n wherever there is room for them."""
    shape = (contract.channels, *contract.space)
    steps = rng.integers(0, intervals + 1, (shape[0] if by_channel else 1, *shape[1:]))
    steps.flat[0], steps.flat[-1] = 0, intervals
    start, end = rng.normal(size=(2, *shape)) * spread_of_values
    return PerturbationPlan(
        start=start.astype(np.float32),
        end=end.astype(np.float32),
        step_map=steps.astype(step_type(intervals)),
        intervals=intervals,
    )


def random_work(rng, plans, rows: int) -> np.ndarray:
    """Any order, with repeats; the first and the last step are always among the rows."""
    chosen = rng.integers(0, len(plans), rows)
    steps = [rng.integers(0, plans[p].intervals + 1) for p in chosen]
    steps[0], steps[-1] = 0, plans[chosen[-1]].intervals
    return np.stack([chosen, steps], axis=1).astype(np.int32)


def masked_by_definition(plan: PerturbationPlan, step: int) -> np.ndarray:
    """Element p of channel c shows `end` if and only if step_map[p] < step."""
    image = np.empty_like(plan.start)
    channels_alike = len(plan.step_map) == 1
    for place in np.ndindex(*image.shape):
        when = int(plan.step_map[(0, *place[1:])] if channels_alike else plan.step_map[place])
        image[place] = plan.end[place] if when < step else plan.start[place]
    return image


def normalised(images: np.ndarray, contract) -> np.ndarray:
    """What an identity network must answer to pixels (N, C, *space), in float32 as IEEE rounds it."""
    prep = contract.preprocessing
    mean, std = (v.reshape(-1, *(1,) * len(contract.space)) for v in prep.channel_stats(contract.channels))
    values = (images.astype(np.float32) - mean) / std
    values = values[:, ::-1] if prep.bgr else values
    return values.reshape(len(images), -1)[:, prep.drop_class :]


def definition(passes, plans, work) -> np.ndarray:
    """Image by image through the fused graph."""
    return np.concatenate([passes.direct(masked_by_definition(plans[p], s)[None]) for p, s in work])


# ------------------------------------------------------------------------------------------------ direct


@pytest.mark.parametrize("net", IDENTITIES)
def test_direct_answers_each_image_with_its_normalised_pixels(passes_of, net):
    passes = passes_of(net)
    images = np.random.default_rng(0).normal(size=(11, passes.contract.channels, *passes.contract.space))
    images = images.astype(np.float32)
    logits = passes.direct(images)
    assert logits.dtype == np.float32
    # An engine may compute x·(1/std) − mean/std instead: the rounding is that of the larger of the two terms.
    mean, std = passes.contract.preprocessing.channel_stats(passes.contract.channels)
    rounding = 4 * np.finfo(np.float32).eps * ((np.abs(images).max() + np.abs(mean)) / std).max()
    np.testing.assert_allclose(logits, normalised(images, passes.contract), rtol=0, atol=rounding)
    for image, row in zip(images, logits, strict=True):
        np.testing.assert_array_equal(passes.direct(image[None])[0], row)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_normalisation_is_ieee_float32_where_the_engine_keeps_to_the_graph(implementation, engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    for net in IDENTITIES:
        passes = opened(implementation, engine, net, 8)
        images = np.random.default_rng(1).normal(size=(5, passes.contract.channels, *passes.contract.space)) * 100
        np.testing.assert_array_equal(passes.direct(images.astype("f")), normalised(images, passes.contract))


def test_direct_of_no_image_is_an_empty_answer(passes_of):
    assert passes_of("bare").direct(np.zeros((0, 1, 4, 3), np.float32)).shape == (0, 12)


# ------------------------------------------------------------------------------------------------ select


@pytest.mark.parametrize("by_channel", [False, True], ids=["whole pixels", "channel values"])
@pytest.mark.parametrize("net", IDENTITIES)
def test_select_is_its_definition_bit_for_bit(passes_of, net, by_channel):
    passes = passes_of(net)
    rng = np.random.default_rng(2)
    plans = [random_plan(rng, passes.contract, n, by_channel=by_channel) for n in (1, 4, 7)]
    work = random_work(rng, plans, 29)
    np.testing.assert_array_equal(passes.select(plans, work), definition(passes, plans, work))


@pytest.mark.parametrize("net", ["rgb", "signal", "caffe", "fixed"])
def test_plans_of_one_height_and_of_every_channel_mix_in_one_call(passes_of, net):
    passes = passes_of(net)
    rng = np.random.default_rng(3)
    plans = [random_plan(rng, passes.contract, 5, by_channel=bool(i % 2)) for i in range(4)]
    work = random_work(rng, plans, 23)
    np.testing.assert_array_equal(passes.select(plans, work), definition(passes, plans, work))


def test_first_image_is_start_and_image_n_is_end_but_for_what_never_changes(passes_of):
    passes = passes_of("rgb")
    plan = random_plan(np.random.default_rng(4), passes.contract, 3)
    first, last = passes.select([plan], np.array([[0, 0], [0, 3]], np.int32)).reshape(2, 3, 5, 4)
    start, end = passes.direct(np.stack([plan.start, plan.end])).reshape(2, 3, 5, 4)
    stays = plan.step_map[0] == 3
    assert 0 < stays.sum() < stays.size
    np.testing.assert_array_equal(first, start)
    np.testing.assert_array_equal(last[:, ~stays], end[:, ~stays])
    np.testing.assert_array_equal(last[:, stays], start[:, stays])


def test_rows_answer_in_the_order_of_work_and_repeats_repeat(passes_of):
    passes = passes_of("rgb")
    rng = np.random.default_rng(5)
    plans = [random_plan(rng, passes.contract, 6) for _ in range(3)]
    work = random_work(rng, plans, 17)
    work[7] = work[11] = work[2]
    logits = passes.select(plans, work)
    shuffled = rng.permutation(len(work))
    np.testing.assert_array_equal(passes.select(plans, work[shuffled]), logits[shuffled])
    np.testing.assert_array_equal(logits[7], logits[2])
    np.testing.assert_array_equal(logits[11], logits[2])


def test_batch_size_changes_no_bit(passes_of):
    plans, work, expected = None, None, None
    for batch in (1, 2, 3, 5, 8, 32):
        passes = passes_of("rgb", batch)
        if plans is None:
            rng = np.random.default_rng(6)
            plans = [random_plan(rng, passes.contract, n, by_channel=n == 4) for n in (3, 4, 9)]
            work = random_work(rng, plans, 21)
            expected = definition(passes, plans, work)
        np.testing.assert_array_equal(passes.select(plans, work), expected)


@pytest.mark.parametrize("intervals", [255, 256, 65535, 65536, 1_000_003])
def test_steps_of_every_integer_type_are_told_apart_at_their_ends(passes_of, intervals):
    passes = passes_of("bare")
    contract = passes.contract
    around = [0, 1, 127, 128, 254, 255, 256, 32767, 32768, 65535, intervals - 1, intervals]
    steps = np.array([min(s, intervals) for s in around]).reshape(1, 4, 3)
    rng = np.random.default_rng(7)
    ends = random_plan(rng, contract, 1)
    plan = PerturbationPlan(
        start=ends.start, end=ends.end, step_map=steps.astype(step_type(intervals)), intervals=intervals
    )
    work = np.array([[0, s] for s in sorted({*steps.ravel(), *(steps.ravel() + 1)}) if s <= intervals], np.int32)
    np.testing.assert_array_equal(passes.select([plan], work), definition(passes, [plan], work))


def test_plans_of_different_step_types_share_one_call(passes_of):
    passes = passes_of("rgb")
    rng = np.random.default_rng(8)
    plans = [random_plan(rng, passes.contract, n) for n in (3, 300, 70000)]
    assert {p.step_map.dtype.name for p in plans} == {"uint8", "uint16", "int32"}
    work = random_work(rng, plans, 19)
    np.testing.assert_array_equal(passes.select(plans, work), definition(passes, plans, work))


def test_ends_of_any_size_pass_through_a_mask_unharmed(passes_of):
    """The unused end of an element must leave no trace, however large it is: a blend would."""
    passes = passes_of("bare")
    rng = np.random.default_rng(9)
    small, large = random_plan(rng, passes.contract, 4), random_plan(rng, passes.contract, 4, spread_of_values=3e37)
    plan = PerturbationPlan(start=small.start, end=large.end, step_map=small.step_map, intervals=4)
    work = np.array([[0, k] for k in range(5)], np.int32)
    expected = np.stack([masked_by_definition(plan, k).ravel() for k in range(5)])
    np.testing.assert_array_equal(passes.select([plan], work), expected)


def test_select_of_no_work_is_an_empty_answer(passes_of):
    passes = passes_of("rgb")
    plan = random_plan(np.random.default_rng(10), passes.contract, 2)
    assert passes.select([plan], np.zeros((0, 2), np.int32)).shape == (0, 60)


def test_read_only_and_strided_plans_are_taken(passes_of):
    passes = passes_of("rgb")
    plan = random_plan(np.random.default_rng(11), passes.contract, 4)
    wide = np.repeat(np.repeat(plan.start, 2, axis=1), 2, axis=2)[:, ::2, ::2]
    wide.flags.writeable = False
    strided = PerturbationPlan(start=wide, end=plan.end[::-1][::-1], step_map=plan.step_map, intervals=4)
    work = np.array([[0, 2], [0, 3]], np.int32)
    np.testing.assert_array_equal(passes.select([strided], work), passes.select([plan], work))


# ------------------------------------------------------------------------------------------------ blend


def random_masks(rng, contract, masks: int, sides=(3, 2)):
    """Grids (M, *g) in [0, 1] and, an axis, matrices (M, size, g) whose rows sum to 1."""
    grid = sides[: len(contract.space)]
    grids = rng.random((masks, *grid)).astype(np.float32)
    axes = []
    for size, side in zip(contract.space, grid, strict=True):
        matrix = rng.random((masks, size, side)) + 0.01
        axes.append((matrix / matrix.sum(axis=2, keepdims=True)).astype(np.float32))
    return grids, axes


def blended_by_definition(plan, grid, matrices) -> np.ndarray:
    """start·(1−m) + end·m with m[i, j] = Σ_ab A[i, a] B[j, b] grid[a, b], in float64."""
    mask = np.zeros(plan.start.shape[1:])
    for place in np.ndindex(*mask.shape):
        for cell in np.ndindex(*grid.shape):
            shares = [float(m[p, c]) for m, p, c in zip(matrices, place, cell, strict=True)]
            mask[place] += np.prod(shares) * float(grid[cell])
    return plan.start.astype(np.float64) * (1 - mask) + plan.end.astype(np.float64) * mask


@pytest.mark.parametrize("net", ["rgb", "bare", "signal", "caffe", "fixed"])
def test_blend_is_its_definition_to_a_millionth_of_the_range(passes_of, net):
    passes = passes_of(net)
    contract = passes.contract
    rng = np.random.default_rng(12)
    plans = [random_plan(rng, contract, 1) for _ in range(3)]
    grids, axes = random_masks(rng, contract, 5)
    work = np.stack([rng.integers(0, 3, 17), rng.integers(0, 5, 17)], axis=1).astype(np.int32)
    expected = np.stack([blended_by_definition(plans[p], grids[m], [a[m] for a in axes]) for p, m in work])
    mean, std = (v.astype(np.float64) for v in contract.preprocessing.channel_stats(contract.channels))
    column = (-1, *(1,) * len(contract.space))
    expected = (expected - mean.reshape(column)) / std.reshape(column)
    expected = (expected[:, ::-1] if contract.preprocessing.bgr else expected).reshape(len(work), -1)
    expected = expected[:, contract.preprocessing.drop_class :]
    ends = passes.direct(np.stack([e for p in plans for e in (p.start, p.end)]))
    assert np.abs(passes.blend(plans, grids, axes, work) - expected).max() <= 1e-6 * np.ptp(ends)


def test_blend_by_masks_of_zeros_and_ones_is_the_ends(passes_of):
    passes = passes_of("rgb")
    rng = np.random.default_rng(13)
    plan = random_plan(rng, passes.contract, 1)
    _, axes = random_masks(rng, passes.contract, 2)
    grids = np.stack([np.zeros((3, 2)), np.ones((3, 2))]).astype(np.float32)
    found = passes.blend([plan], grids, axes, np.array([[0, 1], [0, 0]], np.int32))
    expected = passes.direct(np.stack([plan.end, plan.start]))
    assert np.abs(found - expected).max() <= 1e-6 * np.ptp(expected)


def test_blend_answers_in_the_order_of_work_at_every_batch(passes_of):
    rng = np.random.default_rng(14)
    contract = passes_of("signal").contract
    plans = [random_plan(rng, contract, 1) for _ in range(2)]
    grids, axes = random_masks(rng, contract, 4)
    work = np.array([[1, 3], [0, 0], [1, 0], [0, 3], [1, 3], [0, 1], [0, 2]], np.int32)
    expected = passes_of("signal", 8).blend(plans, grids, axes, work)
    for batch in (1, 3, 5):
        found = passes_of("signal", batch).blend(plans, grids, axes, work)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.ptp(expected))
        np.testing.assert_array_equal(found[0], found[4])


@pytest.mark.parametrize("grid", [(4,), (3, 2)], ids=["signal", "image"])
def test_spread_is_one_matrix_an_axis(grid):
    rng = np.random.default_rng(15)
    values = rng.random(grid).astype(np.float32)
    axes = [rng.random((side + 3, side)).astype(np.float32) for side in grid]
    expected = np.zeros([side + 3 for side in grid])
    for place in np.ndindex(*expected.shape):
        for cell in np.ndindex(*grid):
            weight = np.prod([float(a[p, c]) for a, p, c in zip(axes, place, cell, strict=True)])
            expected[place] += weight * float(values[cell])
    found = spread(values, axes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# ------------------------------------------------------------------------- a network that mixes its pixels


@pytest.mark.parametrize(("implementation", "engine"), PAIRS)
@pytest.mark.parametrize(
    ("channels", "space", "preprocessing", "batch"),
    [
        (3, (9, 7), RGB, None),
        (3, (6, 5), CAFFE, None),
        (2, (17,), Preprocessing(mean=(0.2,)), None),
        (3, (9, 7), RGB, 4),
    ],
    ids=["rgb", "caffe", "signal", "fixed batch"],
)
def test_a_convolutional_net_answers_what_loops_compute(implementation, engine, channels, space, preprocessing, batch):
    classifier = nets.conv_net(
        channels, space, preprocessing=preprocessing, batch=batch, torch=engine == "torch", seed=3
    )
    passes = on_engine(implementation, engine, classifier)
    rng = np.random.default_rng(16)
    plans = [random_plan(rng, classifier.contract, n, spread_of_values=0.3) for n in (3, 5)]
    work = random_work(rng, plans, 13)
    wired = nets.conv_weights(channels, len(space), 5 + preprocessing.drop_class, 3)
    expected = []
    for p, s in work:
        image = normalised(masked_by_definition(plans[p], s)[None], _whole(classifier.contract)).reshape(
            channels, *space
        )
        expected.append(nets.conv_logits(image, wired)[preprocessing.drop_class :])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(passes.select(plans, work), expected, rtol=0, atol=1e-5 * scale)


def _whole(contract):
    """The contract with nothing dropped: an image is normalised whole."""
    from dataclasses import replace

    return replace(contract, preprocessing=replace(contract.preprocessing, drop_class=0))


# --------------------------------------------------------------------- how the engine is fed, without any engine


class Recorder:
    """Opens sessions that remember what they are fed and answer zeros."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.opened: list[tuple[str, str]] = []
        self.feeds: list[dict] = []

    def __call__(self, kind: str, step_type: str = ""):
        self.opened.append((kind, step_type))
        return SimpleNamespace(run=self.run)

    def run(self, feeds):
        self.feeds.append(dict(feeds))
        leading = feeds["pixels"].shape[:1] if "pixels" in feeds else feeds["start"].shape[:1] + self.cells(feeds)
        return {"logits": np.zeros((*leading, self.classes), np.float32)}

    @staticmethod
    def cells(feeds) -> tuple[int, ...]:
        return (feeds["steps"] if "steps" in feeds else feeds["grids"]).shape[1:2]

    def images(self) -> list[int]:
        return [len(f["pixels"]) if "pixels" in f else len(f["start"]) * self.cells(f)[0] for f in self.feeds]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("fixed", [None, 6])
@pytest.mark.parametrize("rows", [1, 5, 6, 7, 31])
def test_engines_only_ever_see_full_batches_and_padding_is_not_counted(implementation, fixed, rows):
    contract = nets.identity_net(1, (3, 2), batch=fixed).contract
    recorder, counted = Recorder(6), []
    passes = IMPLEMENTATIONS[implementation](recorder, contract, 4)
    passes.on_passes = counted.append
    rng = np.random.default_rng(17)
    plans = [random_plan(rng, contract, 3) for _ in range(2)]
    grids, axes = random_masks(rng, contract, 3)
    passes.select(plans, random_work(rng, plans, rows))
    passes.blend(plans, grids, axes, np.stack([rng.integers(0, 2, rows), rng.integers(0, 3, rows)], 1).astype("i"))
    passes.direct(rng.random((rows, 1, 3, 2), np.float32))
    assert set(recorder.images()) == {fixed or 4}
    assert sum(counted) == 3 * rows


def test_feeds_have_the_types_and_shapes_of_the_contract():
    contract = nets.identity_net(2, (3, 2)).contract
    recorder = Recorder(12)
    rng = np.random.default_rng(18)
    plans = [random_plan(rng, contract, 300), random_plan(rng, contract, 3, by_channel=True)]
    GraphPasses(recorder, contract, 4).select(plans, random_work(rng, plans, 5))
    assert recorder.opened == [("select", "uint16")]
    for feeds in recorder.feeds:
        rows = len(feeds["start"])
        assert {name: (v.dtype.name, v.shape[0]) for name, v in feeds.items()} == {
            "start": ("float32", rows),
            "end": ("float32", rows),
            "step_map": ("uint16", rows),
            "steps": ("int32", rows),
        }
        assert feeds["step_map"].shape[1:] in {(1, 3, 2), (2, 3, 2)}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("counts", [{}, {"intervals": "5"}, {"pixels_per_step": "1"}])
def test_warming_up_opens_all_that_scoring_needs(implementation, counts):
    contract = nets.identity_net(1, (20, 17)).contract
    recorder = Recorder(340)
    passes = IMPLEMENTATIONS[implementation](recorder, contract, 4)
    protocols = [protocol_for("c2i", name, counts) for name in ("deletion", "insertion")]
    passes.warm_up(protocols)
    opened_before = list(recorder.opened)
    assert len(opened_before) == 1
    intervals = 340 if "pixels_per_step" in counts else int(counts.get("intervals", 32))
    plan = random_plan(np.random.default_rng(19), contract, intervals)
    passes.select([plan], np.array([[0, 1]], np.int32))
    assert recorder.opened == opened_before
