from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from c2i_fast.calibration.measures.binning import DEFAULT_BINS
from c2i_fast.errors import InputError
from c2i_fast.report.reliability_diagram import diagram_bins, reliability_diagram


def outcomes(n=400, slope=0.0, seed=0):
    rng = np.random.default_rng(seed)
    confidence = 1 - rng.random(n) ** 2 / 2
    return confidence, rng.random(n) < confidence - slope * (confidence - 0.5)


@pytest.mark.parametrize("binning", DEFAULT_BINS)
def test_bins_hold_every_sample_once(binning):
    c, a = outcomes()
    bins = diagram_bins(c, a, binning)
    filled = bins.counts > 0
    assert bins.counts.sum() == 400
    assert (bins.counts * bins.confidence)[filled].sum() == pytest.approx(c.sum())
    assert (bins.counts * bins.accuracy)[filled].sum() == pytest.approx(a.sum())
    assert np.isnan(bins.low[~filled]).all()
    assert (bins.low[filled] <= bins.high[filled]).all()
    assert (bins.edges[0], bins.edges[-1]) == (0, 1)
    assert len(bins.edges) == len(bins.counts) + 1


def test_the_hidden_bin_has_no_width():
    bins = diagram_bins([1.0, 0.95], [1, 0], "torchmetrics", 10)
    assert bins.counts[-2:].tolist() == [1, 1]
    assert bins.edges[-2:].tolist() == [1, 1]


def test_the_band_is_that_of_a_binomial():
    from scipy.stats import binom

    bins = diagram_bins([0.8] * 200, [1] * 200, bins=10)
    for end, quantile in ((bins.low[7], 0.025), (bins.high[7], 0.975)):
        assert end == pytest.approx(binom.ppf(quantile, 200, 0.8) / 200, abs=0.0101)  # two samples of 200


def test_a_calibrated_model_is_in_its_band_and_an_overconfident_one_is_not():
    inside = {}
    for slope in (0.0, 0.5):
        bins = diagram_bins(*outcomes(20_000, slope), "equal-mass", 20)
        inside[slope] = ((bins.accuracy >= bins.low) & (bins.accuracy <= bins.high)).mean()
    assert inside[0.0] >= 0.8
    assert inside[0.5] <= 0.2


@pytest.mark.parametrize("binning", DEFAULT_BINS)
def test_png_and_svg_are_written_and_the_same_each_time(tmp_path, binning):
    c, a = outcomes()
    for run in ("one", "two"):
        paths = tmp_path / run / "r.png", tmp_path / run / "r.svg"
        reliability_diagram(*paths, confidence=c, correct=a, title="a title", binning=binning)
    with Image.open(tmp_path / "one/r.png") as picture:
        assert picture.size == (920, 1080)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    assert (tmp_path / "one/r.svg").read_text(encoding="utf-8").count("</svg>") == 1
    for name in ("r.png", "r.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_it_says_the_convention_the_number_of_samples_and_the_errors(tmp_path, monkeypatch):
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")  # text as text
    reliability_diagram(
        tmp_path / "r.svg", confidence=[0.9] * 1200, correct=[1, 0] * 600, title="a title", binning="netcal"
    )
    text = (tmp_path / "r.svg").read_text(encoding="utf-8")
    for part in ("a title", "1,200 samples", "ECE 0.400", "10 equal-width bins [lo, hi)", "confidence", "accuracy"):
        assert part in text, part


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([0.7], [1]), ([1.0] * 5, [1] * 5), ([0.0, 1.0], [0, 1]), ([0.5] * 3, [0, 1, 0])],
)
def test_little_data_is_drawn_too(tmp_path, confidence, correct):
    reliability_diagram(tmp_path / "r.png", confidence=confidence, correct=correct, title="")
    assert (tmp_path / "r.png").stat().st_size > 5000


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"named \.png or \.svg, got 'r\.pdf'"):
        reliability_diagram(tmp_path / "r.pdf", confidence=[0.5], correct=[1], title="")
    with pytest.raises(InputError, match="no binning"):
        reliability_diagram(tmp_path / "r.png", confidence=[0.5], correct=[1], title="", binning="none")
    assert list(tmp_path.iterdir()) == []
