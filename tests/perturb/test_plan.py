"""The planner: every point of every curve shows the image its protocol defines, and no image is made twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.errors import InputError
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.perturb.baseline import Given, baseline_image
from c2i_fast.perturb.counts import point_counts
from c2i_fast.perturb.curve import map_warnings
from c2i_fast.perturb.packing import pack
from c2i_fast.perturb.plan import plan_image
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import Preprocessing

PREPROCESSING = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
FOUR = ("deletion", "insertion", "deletion-lerf", "insertion-lerf")

examples = settings(deadline=None, derandomize=True, max_examples=80)


def picture(space, seed=0, channels=3) -> np.ndarray:
    """Pixels that equal no baseline's."""
    return (0.55 + 0.4 * np.random.default_rng(seed).random((channels, *space))).astype(np.float32)


def c2i(n: int, *curves: str, **overrides: str) -> list[CurveProtocol]:
    return [protocol_for("c2i", curve, {"intervals": str(n), **overrides}) for curve in curves or FOUR]


def shown(plan, row: int) -> np.ndarray:
    """The masked image of one pass, rebuilt from what `select` is given."""
    number, step = plan.work[row]
    made = plan.plans[number]
    return np.where(made.step_map < step, made.end, made.start)


def defined(image: np.ndarray, saliency: np.ndarray, protocol: CurveProtocol, k: int) -> tuple[np.ndarray, int]:
    """Image k of a protocol and its elements at the baseline, from counts, order, start and baseline, by loops."""
    values = saliency.ravel().tolist()
    sign = 1 if protocol.ties == "index" else -1
    order = sorted(range(len(values)), key=lambda i: (-values[i], sign * i))
    if protocol.order == "lerf":
        order = order[::-1]
    changed = order[: int(point_counts(protocol, len(order), saliency.shape[-1])[k])]
    baseline = baseline_image(protocol.baseline, Given(pixels=image, preprocessing=PREPROCESSING))
    start, end = (image, baseline) if protocol.start == "image" else (baseline, image)
    made = start.reshape(len(start), -1).copy()
    for place in changed:
        made[:, place] = end.reshape(len(end), -1)[:, place]
    removed = len(changed) if protocol.start == "image" else len(order) - len(changed)
    return made.reshape(image.shape), removed


@st.composite
def protocols(draw, elements: int):
    rule = draw(st.sampled_from(["equal", "floor", "ceil-block", "pixels", "list"]))
    number = draw(st.integers(1, elements))
    listed = (0, *sorted(draw(st.lists(st.integers(0, elements), min_size=1, max_size=5))))
    return CurveProtocol(
        name="drawn",
        metric=f"m{draw(st.integers(0, 10**9))}",
        order=draw(st.sampled_from(["morf", "lerf"])),
        ties=draw(st.sampled_from(["index", "reverse-index"])),
        counts=rule,
        intervals=None if rule in ("pixels", "list") else number,
        pixels_per_step=number if rule == "pixels" else None,
        count_list=listed if rule == "list" else None,
        start=draw(st.sampled_from(["image", "baseline"])),
        baseline=draw(st.sampled_from(["mean", "blur", "black", "image-mean"])),
        x=draw(st.sampled_from(["fraction", "step"])),
    )


@st.composite
def cases(draw):
    space = draw(st.sampled_from([(1, 1), (3, 5), (4, 4), (7,), (1, 6), (2, 2, 3)]))
    elements = int(np.prod(space))
    levels = draw(st.sampled_from([1, 3, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    maps = {f"method {i}": rng.integers(0, levels, space).astype(np.float32) for i in range(draw(st.integers(1, 3)))}
    return space, maps, draw(st.lists(protocols(elements), min_size=1, max_size=5))


@examples
@given(cases())
def test_every_point_shows_the_image_its_protocol_defines_bit_for_bit(case):
    space, maps, chosen = case
    image = picture(space)
    plan = plan_image(image, maps, chosen, PREPROCESSING)
    assert [(c.method, c.protocol) for c in plan.requests] == [(m, p) for m in maps for p in chosen]
    for curve in plan.requests:
        saliency = maps[curve.method]
        counts = point_counts(curve.protocol, saliency.size, saliency.shape[-1])
        assert len(curve.passes) == len(curve.x) == len(counts)
        for k, row in enumerate(curve.passes):
            expected, removed = defined(image, saliency, curve.protocol, k)
            np.testing.assert_array_equal(shown(plan, row), expected)
            assert plan.perturbed_fraction[row] == removed / saliency.size
        by_share = [c / saliency.size for c in counts]
        by_step = [k / (len(counts) - 1) for k in range(len(counts))]
        assert curve.x.tolist() == (by_share if curve.protocol.x == "fraction" else by_step)


@examples
@given(cases())
def test_no_pass_is_made_twice_and_the_clean_image_is_always_among_them(case):
    space, maps, chosen = case
    image = picture(space)
    plan = plan_image(image, maps, chosen, PREPROCESSING)
    assert len(np.unique(plan.work, axis=0)) == len(plan.work)
    used = {int(row) for curve in plan.requests for row in curve.passes}
    assert used | {plan.clean} == set(range(len(plan.work)))
    assert plan.extra == len(plan.work) - len(used)
    np.testing.assert_array_equal(shown(plan, plan.clean), image)
    assert plan.perturbed_fraction[plan.clean] == 0
    assert plan.requested == sum({(c.method, c.protocol.hash()): len(c.passes) for c in plan.requests}.values())
    assert len(plan.work) == len(plan.perturbed_fraction)
    for curve in plan.requests:
        counts = point_counts(curve.protocol, maps[curve.method].size, space[-1]).tolist()
        assert len(set(curve.passes.tolist())) == len(set(counts)), "equal counts are one pass, others are not"


@examples
@given(cases())
def test_perturbed_fraction_is_the_share_of_pixels_seen_at_the_baseline(case):
    """Counted on the rebuilt image: a pixel is at the baseline when all its channels are not the picture's."""
    space, maps, chosen = case
    image = picture(space)
    plan = plan_image(image, maps, chosen, PREPROCESSING)
    for curve in plan.requests:
        for row in curve.passes:
            pixels = (shown(plan, row) != image).reshape(len(image), -1)
            # one pixel's mean over a 1×1 image is the pixel itself
            if curve.protocol.baseline == "image-mean" and pixels.shape[1] == 1:
                continue
            assert plan.perturbed_fraction[row] == pixels.any(axis=0).mean()


# ------------------------------------------------------------------------------------------------ sharing


@pytest.mark.parametrize(
    ("space", "n"), [((6, 5), 7), ((6, 5), 30), ((3, 3), 1), ((11,), 4), ((16, 16), 32), ((5, 7), 2)]
)
def test_four_curves_cost_2n_passes(space, n):
    saliency = np.random.default_rng(1).random(space).astype(np.float32)
    plan = plan_image(picture(space), {"m": saliency}, c2i(n), PREPROCESSING)
    assert plan.requested == 4 * (n + 1)
    assert len(plan.work) == 2 * n
    assert len({shown(plan, row).tobytes() for row in range(len(plan.work))}) == 2 * n
    assert plan.extra == 0


@pytest.mark.parametrize("ties", ["index", "reverse-index"])
def test_sharing_holds_for_tied_maps_too(ties):
    saliency = np.zeros((6, 5), np.float32)
    plan = plan_image(picture((6, 5)), {"m": saliency}, c2i(7, ties=ties), PREPROCESSING)
    assert len(plan.work) == 14


def test_floor_counts_do_not_mirror_and_so_cost_more():
    """⌊k·U/n⌋ from both ends meets only where n divides k·U: nothing is shared by assuming a symmetry."""
    saliency = np.random.default_rng(2).random((5, 5)).astype(np.float32)
    plan = plan_image(picture((5, 5)), {"m": saliency}, c2i(4, counts="floor"), PREPROCESSING)
    assert len(plan.work) == 2 + 4 * 3
    plan = plan_image(picture((4, 4)), {"m": saliency[:4, :4]}, c2i(4, counts="floor"), PREPROCESSING)
    assert len(plan.work) == 8


def test_equal_rankings_share_every_pass():
    rng = np.random.default_rng(3)
    saliency = rng.permutation(30).reshape(6, 5).astype(np.float32)
    alone = plan_image(picture((6, 5)), {"m": saliency}, c2i(6), PREPROCESSING)
    maps = {"m": saliency, "scaled": saliency * 3 - 7, "cubed": saliency**3}
    together = plan_image(picture((6, 5)), maps, c2i(6), PREPROCESSING)
    assert len(together.work) == len(alone.work) == 12
    assert together.requested == 3 * alone.requested
    for curve in together.requests:
        twin = next(c for c in together.requests if c.method == "m" and c.protocol is curve.protocol)
        np.testing.assert_array_equal(curve.passes, twin.passes)


def test_a_map_and_its_negative_share_the_mirror():
    """MoRF on −s is LeRF on s when nothing is tied; the planner must find it from the images alone."""
    saliency = np.random.default_rng(4).permutation(30).reshape(6, 5).astype(np.float32)
    plan = plan_image(picture((6, 5)), {"m": saliency, "negative": -saliency}, c2i(6), PREPROCESSING)
    shown_by = {(c.method, c.protocol.metric): [shown(plan, r).tobytes() for r in c.passes] for c in plan.requests}
    assert shown_by["negative", "deletion"] == shown_by["m", "deletion-lerf"]
    assert shown_by["negative", "insertion"] == shown_by["m", "insertion-lerf"]


def test_different_rankings_share_only_the_ends():
    rng = np.random.default_rng(5)
    maps = {name: rng.random((6, 5)).astype(np.float32) for name in "abc"}
    plan = plan_image(picture((6, 5)), maps, c2i(6, "deletion"), PREPROCESSING)
    assert len(plan.work) == 2 + 3 * 5


def test_protocols_that_differ_only_in_where_they_are_counted_share_what_coincides():
    saliency = np.random.default_rng(6).random((4, 4)).astype(np.float32)
    coarse, fine = c2i(4, "deletion"), c2i(8, "deletion")
    plan = plan_image(picture((4, 4)), {"m": saliency}, coarse + fine, PREPROCESSING)
    assert len(plan.work) == 9, "every point of the coarse curve is one of the fine curve's"


def test_baselines_share_nothing_but_the_clean_image():
    saliency = np.random.default_rng(7).random((4, 4)).astype(np.float32)
    chosen = [p for b in ("mean", "blur", "black") for p in c2i(4, "deletion", "insertion-lerf", baseline=b)]
    plan = plan_image(picture((4, 4)), {"m": saliency}, chosen, PREPROCESSING)
    assert len(plan.work) == 1 + 3 * 4


def test_mean_and_zero_are_one_baseline_and_share_all_passes():
    saliency = np.random.default_rng(8).random((4, 4)).astype(np.float32)
    chosen = c2i(4, "deletion", baseline="mean") + c2i(4, "deletion", baseline="zero")
    plan = plan_image(picture((4, 4)), {"m": saliency}, chosen, PREPROCESSING)
    assert len(plan.work) == 5


@pytest.mark.parametrize("curves", [("deletion", "insertion"), ("deletion", "insertion", "deletion-lerf"), FOUR])
def test_shared_ends_leave_whole_rows_of_32(curves):
    """Default protocols make two groups of exactly n passes, which fill batches of 32 without padding or splitting."""
    saliency = np.random.default_rng(9).random((20, 20)).astype(np.float32)
    plan = plan_image(picture((20, 20)), {"m": saliency}, c2i(32, *curves), PREPROCESSING)
    assert sorted(np.bincount(plan.work[:, 0])[np.bincount(plan.work[:, 0]) > 0].tolist()) == [32, 32]
    shapes = [rectangle.steps.shape for rectangle in pack(plan.work, 32)]
    assert shapes == [(1, 32), (1, 32)]


# ------------------------------------------------------------------------------------------------ clean and extra


def test_the_clean_image_is_an_extra_pass_only_where_no_curve_reaches_it():
    partial = CurveProtocol(
        name="p", metric="insertion", counts="list", count_list=(0, 2, 5), intervals=None, start="baseline"
    )
    saliency = np.random.default_rng(10).random((3, 3)).astype(np.float32)
    image = picture((3, 3))
    plan = plan_image(image, {"m": saliency}, [partial], PREPROCESSING)
    assert (plan.extra, plan.requested, len(plan.work)) == (1, 3, 4)
    np.testing.assert_array_equal(shown(plan, plan.clean), image)
    assert plan.clean not in plan.requests[0].passes
    whole = plan_image(image, {"m": saliency}, [partial, *c2i(3, "deletion")], PREPROCESSING)
    assert whole.extra == 0
    assert whole.clean == whole.requests[1].passes[0]


@pytest.mark.parametrize("preset", ["c2i", "rise"])
def test_presets_on_one_pixel(preset):
    chosen = [protocol_for(preset, curve, {"intervals": "1"}) for curve in FOUR]
    plan = plan_image(picture((1, 1)), {"m": np.ones((1, 1), np.float32)}, chosen, PREPROCESSING)
    assert plan.requested == 8
    assert [len(c.passes) for c in plan.requests] == [2, 2, 2, 2]
    assert len(plan.work) == (2 if preset == "c2i" else 3), "rise's two baselines make two end images"


def test_too_many_intervals_for_the_map_is_an_input_error():
    with pytest.raises(InputError, match="32 intervals do not fit"):
        plan_image(
            picture((4, 4)), {"m": np.ones((4, 4), np.float32)}, [protocol_for("c2i", "deletion")], PREPROCESSING
        )


def test_plans_hold_no_copy_of_the_image_for_each_curve():
    """Memory: start and end are one array each, whatever the number of curves and methods."""
    rng = np.random.default_rng(11)
    maps = {name: rng.random((6, 5)).astype(np.float32) for name in "abcd"}
    plan = plan_image(picture((6, 5)), maps, c2i(6), PREPROCESSING)
    ends = {end.__array_interface__["data"][0] for p in plan.plans for end in (p.start, p.end)}
    assert len(ends) == 2


def test_more_than_255_steps_and_more_than_65535():
    rng = np.random.default_rng(12)
    for space, n, kind in (((16, 17), 256, "uint16"), ((16, 17), 255, "uint8"), ((70_000,), 65_536, "int32")):
        saliency = rng.random(space).astype(np.float32)
        plan = plan_image(picture(space, channels=1), {"m": saliency}, c2i(n, "deletion"), Preprocessing())
        assert plan.plans[0].step_map.dtype == kind
        rows = plan.requests[0].passes[[0, 1, n - 1, n]]
        changed = [int((shown(plan, r) != shown(plan, plan.clean)).sum()) for r in rows]
        counts = point_counts(plan.requests[0].protocol, saliency.size, space[-1])
        assert changed == [counts[k] for k in (0, 1, n - 1, n)]


# ------------------------------------------------------------------------------------------------ warnings


@pytest.mark.parametrize(
    ("saliency", "expected"),
    [
        ([1.0, 1.0, 1.0], ("constant map",)),
        ([0.0, -0.0], ("constant map",)),
        ([1.0], ()),
        ([1.0, 2.0, 3.0], ()),
        ([1.0, 1.0, 2.0, 3.0], ("ties=0.50",)),
        ([0.0] * 90 + list(range(1, 11)), ("ties=0.90",)),
        ([0.0] * 5 + list(range(1, 96)), ()),
        ([0.0] * 6 + list(range(1, 95)), ("ties=0.06",)),
    ],
)
def test_maps_that_do_not_say_what_goes_first_are_warned_of(saliency, expected):
    values = np.array(saliency, np.float32)
    order = np.argsort(-values, kind="stable")
    assert map_warnings(values, order) == expected


def test_warnings_belong_to_the_curves_of_the_map_they_are_about():
    maps = {"flat": np.ones((2, 2), np.float32), "sharp": np.arange(4, dtype=np.float32).reshape(2, 2)}
    plan = plan_image(picture((2, 2)), maps, c2i(2, "deletion"), PREPROCESSING)
    assert [c.warnings for c in plan.requests] == [("constant map",), ()]
