"""Figures: valid PNG files of the size asked for, with what they should show in them; means worked out by hand."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from c2i_fast.attribution import CONTROLS, METHODS
from c2i_fast.calibration.error import reliability_bins
from c2i_fast.errors import MissingDependencyError
from c2i_fast.report import figures
from c2i_fast.report.figures import (
    DPI,
    Example,
    curves_figure,
    in_order,
    mean_curves,
    overlays_figure,
    reliability_figure,
    style_of,
)

pytest.importorskip("matplotlib", reason="figures are drawn by matplotlib")

X = [0.0, 0.5, 1.0]


def picture(path) -> np.ndarray:
    """The PNG's pixels (H, W, 3), after looking at its signature and header by hand."""
    from PIL import Image

    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    size = struct.unpack(">II", content[16:24])
    with Image.open(path) as image:
        assert image.size == size
        return np.asarray(image.convert("RGB"))


def inches(image: np.ndarray) -> tuple[float, float]:
    return image.shape[1] / DPI, image.shape[0] / DPI


def share_of(image: np.ndarray, colour: str) -> float:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(image.astype(int) - wanted).max(axis=-1) < 8).mean())


def rows(methods=("rise", "gradient", "sobel"), metrics=("deletion", "insertion"), readouts=("raw", "calibrated")):
    rng = np.random.default_rng(0)
    return [(m, k, r, X, rng.random(3).tolist()) for m in methods for k in metrics for r in readouts for _ in range(4)]


def test_a_mean_curve_has_the_t_interval_of_its_points():
    values = np.random.default_rng(1).random((5, 3))
    curve = mean_curves([("rise", "deletion", "raw", X, list(row)) for row in values])["rise", "deletion", "raw"]
    np.testing.assert_allclose(curve.mean, values.mean(axis=0))
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose((curve.low, curve.high), interval)


def test_one_image_has_a_curve_without_width():
    curve = mean_curves([("rise", "deletion", "raw", X, [1.0, 0.5, 0.0])])["rise", "deletion", "raw"]
    assert curve.low.tolist() == curve.high.tolist() == [1.0, 0.5, 0.0]


def test_curves_over_different_fractions_have_no_mean():
    with pytest.raises(ValueError, match="different fractions"):
        mean_curves([("rise", "deletion", "raw", X, X), ("rise", "deletion", "raw", [0.0, 0.4, 1.0], X)])


def test_methods_stand_in_the_order_of_the_list():
    assert in_order(reversed(list(METHODS))) == list(METHODS)
    assert in_order(["mine", "yours", "rise", "mine"]) == ["rise", "mine", "yours"]


def test_our_methods_are_told_apart_and_controls_are_broken_lines():
    styles = [style_of(method) for method in METHODS]
    assert len(set(styles)) == len(styles)
    assert all((style_of(method)[1] != "-") == (method in CONTROLS) for method in METHODS)


def test_a_foreign_method_has_one_style_everywhere():
    assert style_of("mine") == style_of("mine")


def test_curves_are_drawn(tmp_path):
    curves_figure(tmp_path / "curves.png", mean_curves(rows()), title="a title")
    image = picture(tmp_path / "curves.png")
    assert inches(image) == pytest.approx((4.4 * 2 + 2.2, 3.3 * 2 + 0.7), abs=0.01)
    for method in ("rise", "gradient", "sobel"):
        assert share_of(image, style_of(method)[0]) > 1e-4, method
    assert share_of(image, style_of("gradcam")[0]) < 1e-5  # which nobody gave


def test_curves_with_one_panel_are_drawn(tmp_path):
    curves_figure(tmp_path / "one.png", mean_curves(rows(metrics=("deletion-lerf",), readouts=("logit",))), title="")
    assert picture(tmp_path / "one.png").std() > 10


def test_a_method_without_some_metric_is_left_out_of_its_panel(tmp_path):
    curves = mean_curves(rows(methods=("rise",)) + rows(methods=("gradient",), metrics=("deletion",)))
    curves_figure(tmp_path / "curves.png", curves, title="")
    assert picture(tmp_path / "curves.png").std() > 10


def example(colour: bool = False, truth: bool = True) -> Example:
    rng = np.random.default_rng(2)
    mask = np.zeros((16, 16), bool)
    mask[4:9, 5:12] = True
    return Example(
        image=rng.random((16, 16, 3) if colour else (16, 16)),
        maps={"rise": rng.normal(size=(16, 16)), "center": rng.random((16, 16))},
        truth=mask if truth else None,
        caption="a caption",
    )


def test_overlays_are_drawn_with_the_outline_of_the_truth(tmp_path):
    overlays_figure(tmp_path / "overlays.png", [example(), example(colour=True)], title="a title")
    image = picture(tmp_path / "overlays.png")
    assert inches(image) == pytest.approx((1.45 * 4 + 0.5, 1.5 * 2 + 1.2), abs=0.01)
    assert share_of(image, figures.SKY) > 1e-4


def test_overlays_need_no_truth(tmp_path):
    overlays_figure(tmp_path / "overlays.png", [example(truth=False)], title="")
    image = picture(tmp_path / "overlays.png")
    assert inches(image) == pytest.approx((1.45 * 3 + 0.5, 1.5 + 1.2), abs=0.01)
    assert share_of(image, figures.SKY) < 1e-4


@pytest.mark.parametrize("saliency", [np.zeros((8, 8)), np.full((8, 8), -3.0), np.eye(8) * [[1e9]]])
def test_flat_and_spiky_maps_are_drawn_without_a_warning(saliency, tmp_path, recwarn):
    shown = Example(image=np.full((8, 8), 0.5), maps={"rise": saliency})
    overlays_figure(tmp_path / "flat.png", [shown], title="")
    assert picture(tmp_path / "flat.png").std() > 0
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_reliability_is_drawn_before_and_after(tmp_path):
    rng = np.random.default_rng(3)
    sure = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < sure - 0.15
    before, after = (reliability_bins(confidence, right, 10) for confidence in (sure, sure - 0.15))
    reliability_figure(tmp_path / "r.png", before, after, labels=("before", "after"), title="a title")
    image = picture(tmp_path / "r.png")
    assert inches(image) == pytest.approx((8.4, 5.2), abs=0.01)
    for colour in (figures.BLUE, figures.VERMILION, figures.GREY):
        assert share_of(image, colour) > 1e-3


def test_a_missing_folder_is_made(tmp_path):
    curves_figure(tmp_path / "a" / "b" / "c.png", mean_curves(rows()), title="")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.png"]


def test_drawing_leaves_matplotlibs_own_state_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    curves_figure(tmp_path / "c.png", mean_curves(rows()), title="")
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_install_line_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"matplotlib is not .*c2i-fast\[report\]"):
        curves_figure(tmp_path / "c.png", mean_curves(rows()), title="")
    assert not list(tmp_path.iterdir())
