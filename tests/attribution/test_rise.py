from __future__ import annotations

import numpy as np
import pytest

import c2i_fast.attribution.rise as rise_module
from c2i_fast.attribution import Context
from c2i_fast.attribution.masks import RiseMasks
from c2i_fast.attribution.rise import Rise
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

RNG = np.random.default_rng(0)
PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def small_network(shape: tuple[int, ...], classes: int = 4):
    """A nonlinear model of one image (C, *space) in float64."""
    rng = np.random.default_rng(7)
    size = int(np.prod(shape))
    first, second = rng.normal(size=(6, size)) / np.sqrt(size), rng.normal(size=(classes, 6))
    return lambda image: second @ np.tanh(3 * first @ image.ravel())


def rise(passes, **settings) -> Rise:
    options = {"masks": 40, "grid": 4, **settings.pop("options", {})}
    return Rise(Context(passes=passes, preprocessing=PREPROCESSING, options=options, **settings))


def pictures(n: int, shape: tuple[int, ...] = (3, 13, 10)):
    rng = np.random.default_rng(1)
    return [f"{i}.png" for i in range(n)], rng.random((n, *shape), np.float32), rng.integers(0, 4, n)


@pytest.mark.parametrize("shape", [(3, 13, 10), (3, 37), (1, 5, 6)])
def test_rise_is_its_definition(shape, loop_passes, spread_grid):
    network = small_network(shape)
    preprocessing = PREPROCESSING if shape[0] == 3 else Preprocessing(mean=(0.3,))
    ids, images, targets = pictures(2, shape)
    options = {"masks": 30, "grid": 3, "p": 0.4}
    context = Context(passes=loop_passes(network), preprocessing=preprocessing, seed=5, options=options)
    maps = Rise(context).explain(ids, images, targets)

    masks = RiseMasks(shape[1:], masks=30, grid=3, p=0.4, seed=5)
    axes = masks.axes(slice(None))
    baseline = np.array(preprocessing.channel_stats(shape[0])[0]).reshape(-1, *(1,) * (len(shape) - 1))
    for image, target, found in zip(images, targets, maps, strict=True):
        expected = np.zeros(shape[1:])
        for i in range(30):
            m = spread_grid(masks.grids[i], [axis[i] for axis in axes])
            exponentials = np.exp(network(baseline * (1 - m) + image * m))
            expected += exponentials[target] / exponentials.sum() * m / (30 * 0.4)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert maps.dtype == np.float32
    assert maps.shape == (2, *shape[1:])


def test_grouping_and_order_of_images_leave_every_bit(loop_passes, monkeypatch):
    ids, images, targets = pictures(3)
    together = rise(loop_passes(small_network((3, 13, 10)))).explain(ids, images, targets)
    monkeypatch.setattr(rise_module, "_MASKS_A_CALL", 7)
    method = rise(loop_passes(small_network((3, 13, 10))))
    for i in (2, 0, 1):
        alone = method.explain([ids[i]], images[[i]], targets[[i]])
        np.testing.assert_array_equal(alone[0], together[i])
    assert method.passes_used == 3 * 40


def test_masks_are_shared_by_images_and_runs_and_follow_the_seed(loop_passes):
    ids, images, targets = pictures(2)
    copies = np.stack([images[0], images[0]])
    network = small_network((3, 13, 10))
    maps = rise(loop_passes(network), seed=1).explain(ids, copies, targets[[0, 0]])
    np.testing.assert_array_equal(maps[0], maps[1])
    again = rise(loop_passes(network), seed=1).explain(["other"], copies[:1], targets[:1])
    np.testing.assert_array_equal(maps[0], again[0])
    assert not np.array_equal(maps, rise(loop_passes(network), seed=2).explain(ids, copies, targets[[0, 0]]))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_model_that_reads_one_quadrant_is_caught_there(rows, columns, loop_passes):
    window = np.s_[:, 8 * rows : 8 * rows + 8, 8 * columns : 8 * columns + 8]
    passes = loop_passes(lambda image: np.array([16 * image[window].mean() - 8, 0]))
    context = Context(passes=passes, options={"masks": 600, "grid": 4})
    saliency = Rise(context).explain(["a"], np.ones((1, 3, 16, 16), np.float32), np.array([0]))[0]
    quadrants = saliency.reshape(2, 8, 2, 8).mean(axis=(1, 3))
    assert np.unravel_index(quadrants.argmax(), (2, 2)) == (rows, columns)
    assert np.isin(np.argsort(saliency.ravel())[-26:], np.arange(256).reshape(16, 16)[window[1:]]).mean() >= 0.9


def test_a_constant_model_shows_the_mean_mask(loop_passes, spread_grid):
    method = rise(loop_passes(lambda image: np.log([0.2, 0.8])))
    found = method.explain(["a"], np.ones((1, 3, 13, 10), np.float32), np.array([1]))[0]
    masks = RiseMasks((13, 10), masks=40, grid=4, p=0.5, seed=0)
    axes = masks.axes(slice(None))
    mean = np.mean([spread_grid(g, [axis[i] for axis in axes]) for i, g in enumerate(masks.grids)], axis=0)
    np.testing.assert_allclose(found, 0.8 * mean / 0.5, atol=1e-6)


def test_the_readout_is_what_is_explained(loop_passes):
    ids, images, targets = pictures(2)
    passes = loop_passes(small_network((3, 13, 10)))

    def logit(logits, chosen):
        return logits[np.arange(len(logits)), chosen].astype(np.float64)

    once = rise(passes, readout=logit).explain(ids, images, targets)
    twice = rise(passes, readout=lambda z, t: 2 * logit(z, t)).explain(ids, images, targets)
    np.testing.assert_array_equal(twice, 2 * once)


def test_the_engine_gets_grids_and_never_masks(loop_passes):
    ids, images, targets = pictures(2)
    passes = loop_passes(small_network((3, 13, 10)))
    rise(passes).explain(ids, images, targets)
    (call,) = passes.calls
    assert call.grids.shape == (40, 4, 4)
    assert [axis.shape for axis in call.axes] == [(40, 13, 4), (40, 10, 4)]
    assert all(a.dtype == np.float32 for a in (call.grids, *call.axes, call.plans[0].start, call.plans[0].end))
    assert call.work.dtype == np.int32
    assert sorted(map(tuple, call.work)) == [(plan, mask) for plan in range(2) for mask in range(40)]
    np.testing.assert_array_equal(call.plans[0].start[:, 0, 0], np.float32([0.4, 0.5, 0.6]))
    np.testing.assert_array_equal(call.plans[1].end, images[1])


def test_a_long_signal_goes_in_small_calls(loop_passes, monkeypatch):
    monkeypatch.setattr(rise_module, "_AXES_VALUES", 1000)
    passes = loop_passes(small_network((3, 50)))
    ids, images, targets = pictures(1, (3, 50))
    rise(passes).explain(ids, images, targets)
    assert [len(call.grids) for call in passes.calls] == [5] * 8


def test_no_images_cost_nothing(loop_passes):
    method = rise(loop_passes(small_network((3, 13, 10))))
    assert method.explain([], np.zeros((0, 3, 13, 10), np.float32), np.zeros(0, int)).shape == (0, 13, 10)
    assert method.passes_used == 0


@pytest.mark.parametrize(
    ("option", "value"), [("masks", 0), ("masks", 2.5), ("grid", 0), ("grid", "x"), ("p", 0), ("p", 1.5)]
)
def test_options_out_of_range_are_refused(option, value, loop_passes):
    with pytest.raises(InputError, match=f"rise: {option} "):
        rise(loop_passes(small_network((3, 13, 10))), options={option: value})


def test_rise_needs_passes_and_a_class_that_exists(loop_passes):
    with pytest.raises(InputError, match="needs masked passes"):
        Rise(Context())
    ids, images, _ = pictures(1)
    with pytest.raises(InputError, match="target 4 is not one of the model's 4 classes"):
        rise(loop_passes(small_network((3, 13, 10)))).explain(ids, images, np.array([4]))


def expected_on_a_linear_score(weights: np.ndarray, image: np.ndarray, space: tuple[int, int], grid: int, p: float):
    """E[(Σ_q c_q m_q) m_p]/p in closed form, c = Σ_channels weights·image, baseline 0.

    Cells are independent, so E[m_p m_q] = p² + p(1−p)·Π_axes Σ_i A[p,i]A[q,i], averaged over all shifts of each axis.
    """
    from c2i_fast.attribution.upsample import linear_axis

    moments = []
    for size in space:
        cell = -(-size // grid)
        whole = linear_axis((grid + 1) * cell, grid, "mirror")
        cut = [whole[shift : shift + size] for shift in range(cell)]
        moments.append(np.mean([a @ a.T for a in cut], axis=0))
    c = (weights * image).sum(axis=0)
    return p * c.sum() + (1 - p) * np.einsum("ap,bq,pq->ab", *moments, c)


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_rise_converges_to_its_expectation_on_a_linear_score(p, loop_passes):
    rng = np.random.default_rng(3)
    space, weights = (6, 5), rng.normal(size=(2, 6, 5))
    image = rng.random((2, 6, 5), np.float32)
    expected = expected_on_a_linear_score(weights, image, space, 3, p)
    errors = []
    for masks in (400, 25600):
        passes = loop_passes(lambda x: np.array([(weights * x).sum()]))
        passes.blend = lambda plans, grids, axes, work: np.einsum(  # all masks at once, by the same definition
            "mia,mab,mjb,ij->m", axes[0], grids, axes[1], (weights * image).sum(axis=0)
        )[:, None]
        context = Context(
            passes=passes,
            readout=lambda logits, targets: logits[:, 0].astype(np.float64),
            options={"masks": masks, "grid": 3, "p": p},
        )
        errors.append(abs(Rise(context).explain(["a"], image[None], np.array([0]))[0] - expected).max())
    assert errors[1] < 0.03 * np.ptp(expected)
    assert errors[1] < errors[0] / 2.5  # eight times closer in expectation
