"""DESIGN §2, the mirror: four curves are two sets of images, bit for bit, for any number of elements and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.metrics.presets import protocol_for
from c2i_fast.perturb.counts import point_counts
from c2i_fast.perturb.order import pixel_order, step_map
from c2i_fast.perturb.plan import plan_image
from c2i_fast.types import PerturbationPlan, Preprocessing

examples = settings(deadline=None, derandomize=True, max_examples=120)
PREPROCESSING = Preprocessing(mean=(0.3,), std=(0.2,))


@st.composite
def cases(draw):
    """A space, n ≤ U, and a map with or without ties."""
    space = draw(st.sampled_from([(1,), (7,), (1, 1), (3, 4), (5, 5), (1, 9), (6, 2), (2, 3, 2)]))
    elements = int(np.prod(space))
    n = draw(st.integers(1, elements))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    saliency = rng.integers(0, draw(st.sampled_from([1, 2, 5, 10**6])), space).astype(np.float32)
    return (
        space,
        n,
        saliency,
        rng.random((2, *space)).astype(np.float32),
        draw(st.sampled_from(["mean", "black", "blur"])),
    )


def image_of(plan: PerturbationPlan, k: int) -> np.ndarray:
    return np.where(plan.step_map < k, plan.end, plan.start)


def curve_images(case, name: str) -> list[np.ndarray]:
    """The n + 1 images of one curve, each protocol planned by itself so that nothing can be shared."""
    _, n, saliency, image, baseline = case
    protocol = protocol_for("c2i", name, {"intervals": str(n), "baseline": baseline})
    plan = plan_image(image, {"m": saliency}, [protocol], PREPROCESSING)
    rows = [plan.work[row] for row in plan.requests[0].passes]
    return [image_of(plan.plans[number], step) for number, step in rows]


@examples
@given(cases())
@pytest.mark.parametrize(("removing", "revealing"), [("deletion", "insertion-lerf"), ("deletion-lerf", "insertion")])
def test_image_n_minus_k_of_revealing_is_image_k_of_removing(removing, revealing, case):
    n = case[1]
    removed, revealed = curve_images(case, removing), curve_images(case, revealing)
    assert len(removed) == len(revealed) == n + 1
    for k in range(n + 1):
        np.testing.assert_array_equal(revealed[n - k], removed[k])


@examples
@given(cases())
def test_start_and_end_swapped_and_step_map_mirrored_show_the_same_images_backwards(case):
    """For any plan with counts[n] = U: (start ↔ end, n−1−step_map)."""
    space, n, saliency, image, _ = case
    counts = point_counts(protocol_for("c2i", "deletion", {"intervals": str(n)}), saliency.size, space[-1])
    steps = step_map(pixel_order(saliency), counts, space)
    baseline = 1 - image
    plan = PerturbationPlan(start=image, end=baseline, step_map=steps, intervals=n)
    mirror = PerturbationPlan(
        start=baseline, end=image, step_map=(n - 1 - steps.astype(np.int32)).astype(steps.dtype), intervals=n
    )
    for k in range(n + 1):
        np.testing.assert_array_equal(image_of(mirror, n - k), image_of(plan, k))


@examples
@given(cases())
def test_four_curves_are_2n_distinct_images(case):
    _, n, saliency, image, baseline = case
    overrides = {"intervals": str(n), "baseline": baseline}
    names = ("deletion", "insertion", "deletion-lerf", "insertion-lerf")
    plan = plan_image(image, {"m": saliency}, [protocol_for("c2i", name, overrides) for name in names], PREPROCESSING)
    assert len(plan.work) == 2 * n


@examples
@given(cases())
def test_fractions_of_the_mirror_add_up_to_one_and_lambda_is_the_same(case):
    """The image is one and so is its perturbed fraction, though it lies at x on one curve and at 1 − x on the other."""
    _, n, saliency, image, baseline = case
    overrides = {"intervals": str(n), "baseline": baseline}
    chosen = [protocol_for("c2i", name, overrides) for name in ("deletion", "insertion-lerf")]
    plan = plan_image(image, {"m": saliency}, chosen, PREPROCESSING)
    removing, revealing = plan.requests
    np.testing.assert_array_equal(removing.passes, revealing.passes[::-1])
    np.testing.assert_allclose(removing.x + revealing.x[::-1], 1, atol=1e-15)
    np.testing.assert_array_equal(plan.perturbed_fraction[removing.passes], removing.x)
