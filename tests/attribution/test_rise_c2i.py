from __future__ import annotations

import numpy as np
import pytest

import c2i_fast.attribution.rise_c2i as module
from c2i_fast.attribution import Context
from c2i_fast.attribution.rise_c2i import HardMasks, RiseC2I
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing
from tests.nets import smooth_function

MEAN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.mark.parametrize("space", [(32, 32), (17, 30), (40,)])
def test_masks_are_bicubic_above_a_half_and_rolled(space):
    torch = pytest.importorskip("torch")
    masks = HardMasks(space, masks=20, grid=5, p=0.6, seed=2)
    for grid, shift, mask in zip(masks.grids, masks.shifts, masks.made(slice(None)), strict=True):
        picture = torch.from_numpy(grid.astype(np.float64)).reshape(1, 1, -1, 5 if len(space) == 2 else 1)
        size = (*space, 1)[:2]
        smooth = torch.nn.functional.interpolate(picture, size, mode="bicubic", align_corners=False).numpy()
        rolled = np.roll(smooth.reshape(space), shift, axis=tuple(range(len(space))))
        sure = abs(rolled - 0.5) > 1e-9
        np.testing.assert_array_equal(mask[sure], (rolled > 0.5)[sure])
    assert (masks.shifts >= 0).all()
    assert (masks.shifts < [-(-size // 5) for size in space]).all()


def test_a_longer_set_starts_with_the_shorter_one_and_p_cells_are_kept():
    short, long = (HardMasks((30, 20), masks=n, grid=8, p=0.6, seed=4) for n in (10, 2000))
    np.testing.assert_array_equal(short.made(slice(None)), long.made(slice(0, 10)))
    assert long.grids.mean() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("shape", [(3, 13, 10), (3, 37)])
def test_the_map_is_its_definition(shape, loop_passes, monkeypatch):
    monkeypatch.setattr(module, "_MASKS_A_CALL", 7)
    network = smooth_function(shape)
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    options = {"masks": 30, "grid": 3, "p": 0.3}
    method = RiseC2I(Context(passes=loop_passes(network), preprocessing=MEAN, seed=5, options=options))
    found = method.explain(["a", "b"], images, np.array([1, 2]))
    masks = HardMasks(shape[1:], masks=30, grid=3, p=0.3, seed=5).made(slice(None))
    fill = np.float32([0.4, 0.5, 0.6]).reshape(3, *(1,) * (len(shape) - 1))
    for image, target, saliency in zip(images, (1, 2), found, strict=True):
        total = np.zeros(shape[1:])
        for mask in masks:
            if mask.any():
                logits = network(np.where(mask, image, fill))
                total += Context().read(logits[None], np.array([target]))[0] * mask / (mask.mean() * 30)
        np.testing.assert_allclose(saliency, (total - total.min()) / np.ptp(total), atol=1e-5)
    assert not masks.any(axis=tuple(range(1, masks.ndim))).all() or len(shape) == 3  # a mask of nothing was met
    assert method.passes_used == 60


def test_one_set_serves_every_image_and_a_logits_scale_changes_nothing(loop_passes):
    """RISE on logits is proportional under a temperature when the masks are shared."""
    network = smooth_function((3, 12, 12))
    images = np.random.default_rng(1).random((1, 3, 12, 12), np.float32)

    def explained(scale):
        def logit(logits, targets):
            return scale * logits[np.arange(len(logits)), targets].astype(np.float64)

        options = {"masks": 50, "grid": 4}
        return RiseC2I(Context(passes=loop_passes(network), readout=logit, options=options))

    once, third = (explained(s).explain(["a"], images, np.array([0])) for s in (1, 1 / 3))
    np.testing.assert_allclose(once, third, atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("masks", 0), ("grid", 1.5), ("p", 0)])
def test_options_out_of_range_are_refused(option, value, loop_passes):
    with pytest.raises(InputError, match=f"rise-c2i: {option} "):
        RiseC2I(Context(passes=loop_passes(smooth_function((3, 4, 4))), options={option: value}))


def test_no_images_cost_nothing(loop_passes):
    method = RiseC2I(Context(passes=loop_passes(smooth_function((3, 8, 8)))))
    assert method.explain([], np.zeros((0, 3, 8, 8), np.float32), np.zeros(0, int)).shape == (0, 8, 8)
    assert method.passes_used == 0
