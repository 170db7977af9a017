"""Correlations over subsets: loops, closed forms, and other packages' numbers on the subsets they drew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from c2i_fast.errors import InputError
from c2i_fast.metrics import protocol_for
from c2i_fast.metrics.correlation import correlation
from c2i_fast.metrics.one_at_a_time import GroupProtocol, groups_of
from c2i_fast.metrics.subsets import FaithfulnessCorrelation, SensitivityN, SensitivityProtocol
from c2i_fast.perturb.units import cells
from tests import nets
from tests.metrics.things import UNEVEN, column, oracle_scores, scored, softmax, value

DRAWN = ("faithfulness-correlation", "mu-fidelity", "sensitivity-n")
ALL = (*DRAWN, "faithfulness-estimate")
BOTH = ["a", pytest.param("b", marks=pytest.mark.slow)]
SMALL = {"unit_size": "3", "runs": "12"}


def case(count=2, space=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, 3, *space)).astype(np.float32), rng.normal(size=(count, *space)).astype(np.float32)


# --------------------------------------------------------------------------------------- the correlation


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30), st.floats(1e-200, 1e100))
def test_correlations_are_scipys_at_any_scale_and_nan_where_nothing_varies(pairs, scale):
    x, y = np.array(pairs, float).T
    for how, theirs in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        found = correlation(x, y * scale, how)
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(theirs(x, y).statistic, abs=1e-12)


def test_equal_sums_that_differ_by_rounding_do_not_correlate_by_chance():
    x = 0.7 * 224 * (1 + 1e-16 * np.arange(9)) + np.array([0, 3e-14, -3e-14] * 3)
    assert np.ptp(x) > 0
    assert np.isnan(correlation(x, np.arange(9.0)))


def test_one_point_has_no_correlation():
    assert np.isnan(correlation(np.ones(1), np.ones(1)))


# --------------------------------------------------------------------------------------- by loops, whoever draws


def drops_by_loops(image, logits_of, sets, baseline):
    """f(x) and f(x_S) of sets of pixels, one masked picture at a time."""
    logits = logits_of(image).astype(np.float32)
    target = int(np.argmax(logits))
    clean, found = softmax(logits)[target], []
    for chosen in sets:
        shown = image.reshape(3, -1).copy()
        for pixel in chosen:
            shown[:, pixel] = baseline[:, pixel]
        found.append(clean - softmax(logits_of(shown.reshape(image.shape)).astype(np.float32))[target])
    return np.array(found)


@pytest.mark.parametrize("metric", ["faithfulness-correlation", "mu-fidelity"])
def test_one_law_of_subsets_by_loops(monkeypatch, metric):
    images, maps = case()
    logits_of = nets.smooth_function((3, 6, 5), seed=4)
    seen, draw = {}, FaithfulnessCorrelation.drawn

    def spied(self, rng, book, units, protocol):
        seen[book.given.image] = draw(self, rng, book, units, protocol)
        return seen[book.given.image]

    monkeypatch.setattr(FaithfulnessCorrelation, "drawn", spied)
    overrides = SMALL if metric == "mu-fidelity" else {"runs": "12", "subset_size": "7"}
    found = scored(images, {"ours": maps}, (metric,), overrides=overrides, logits_of=logits_of)
    mean = np.broadcast_to(column(UNEVEN.mean), (3, 6, 5)).reshape(3, -1).astype(np.float32)
    grid = cells((6, 5), 3).ravel()
    for i, image in enumerate(images):
        subsets = seen[str(i)][0]
        assert len(subsets) == 12
        if metric == "mu-fidelity":
            assert 0 < np.mean([len(s) for s in subsets]) < 5
            subsets = [[p for p in range(30) if grid[p] in set(s.tolist())] for s in subsets]
        else:
            assert all(len(set(s.tolist())) == 7 for s in subsets)
        sums = [sum(float(maps[i].ravel()[p]) for p in s) for s in subsets]
        drops = drops_by_loops(image, logits_of, subsets, mean)
        theirs = stats.spearmanr if metric == "mu-fidelity" else stats.pearsonr
        row = value(found, metric, i)
        assert row.value == pytest.approx(theirs(sums, drops).statistic, abs=1e-9)
        assert row.passes == 13


def test_sensitivity_n_by_loops_with_its_curve_over_n(monkeypatch):
    images, maps = case()
    logits_of = nets.smooth_function((3, 6, 5), seed=4)
    seen, draw = {}, SensitivityN.drawn

    def spied(self, rng, book, units, protocol):
        seen[book.given.image] = draw(self, rng, book, units, protocol)
        return seen[book.given.image]

    monkeypatch.setattr(SensitivityN, "drawn", spied)
    overrides = {"runs": "10", "sizes": "4"}
    found = scored(images, {"ours": maps}, ("sensitivity-n",), overrides=overrides, logits_of=logits_of)
    mean = np.broadcast_to(column(UNEVEN.mean), (3, 6, 5)).reshape(3, -1).astype(np.float32)
    sizes = SensitivityProtocol(name="x", metric="sensitivity-n", sizes=4).counts(30).tolist()
    assert sizes == [1, 3, 8, 24]  # from 1 to 80 % of 30 in equal ratios
    for i, image in enumerate(images):
        subsets = seen[str(i)][0]
        sums = np.array([sum(float(maps[i].ravel()[p]) for p in s) for s in subsets])
        drops = drops_by_loops(image, logits_of, subsets, mean)
        per_size = []
        for n in sizes:
            own = [k for k, s in enumerate(subsets) if len(s) == n]
            assert len(own) == 10
            per_size.append(stats.pearsonr(sums[own], drops[own]).statistic)
        row = value(found, "sensitivity-n", i)
        np.testing.assert_allclose(row.curve.values, per_size, atol=1e-9)
        np.testing.assert_allclose(row.curve.fractions, np.array(sizes) / 30)
        assert row.value == pytest.approx(np.mean(per_size), abs=1e-9)


def test_sets_of_each_size_are_uniform(monkeypatch):
    """Every pixel is as often in a set as every other, whatever the size."""
    image, maps = case(1, (4, 4))
    overrides = {"runs": "1500", "sizes": "3"}
    seen, draw = [], SensitivityN.drawn

    def spied(self, rng, book, units, protocol):
        drawn = draw(self, rng, book, units, protocol)
        seen.extend(drawn[0])
        return drawn

    monkeypatch.setattr(SensitivityN, "drawn", spied)
    scored(image, {"ours": maps}, ("sensitivity-n",), overrides=overrides)
    for size in (1, 3, 12):
        sets = [s for s in seen if len(s) == size]
        assert len(sets) == 1500
        share = np.bincount(np.concatenate(sets), minlength=16) / 1500
        assert np.abs(share - size / 16).max() < 5 * np.sqrt(size / 16 * (1 - size / 16) / 1500)


def test_estimate_by_loops_in_groups_and_alone():
    images, maps = case()
    logits_of = nets.smooth_function((3, 6, 5), seed=4)
    mean = np.broadcast_to(column(UNEVEN.mean), (3, 6, 5)).reshape(3, -1).astype(np.float32)
    for size in (1, 4):
        overrides = {"unit": "pixel", "group_size": str(size)}
        found = scored(images, {"ours": maps}, ("faithfulness-estimate",), overrides=overrides, logits_of=logits_of)
        for i, image in enumerate(images):
            flat = maps[i].ravel().astype(np.float64)
            order = sorted(range(30), key=lambda p: (-flat[p], p))
            groups = [order[k : k + size] for k in range(0, 30, size)]
            drops = drops_by_loops(image, logits_of, groups, mean)
            row = value(found, "faithfulness-estimate", i)
            expected = stats.pearsonr([flat[g].sum() for g in groups], drops).statistic
            assert row.value == pytest.approx(expected, abs=1e-9)
            assert row.passes == 1 + len(groups)


@pytest.mark.parametrize("metric", ALL)
def test_a_linear_logit_is_predicted_perfectly_by_what_each_pixel_adds(metric):
    """f = w·x, φ = w·(x − baseline): the drop without S is Σ_S φ exactly, so every correlation is 1."""
    rng = np.random.default_rng(5)
    image = rng.random((1, 3, 6, 5)).astype(np.float32)
    weights = rng.normal(size=(2, 90))
    weights[1] = -weights[0]
    relevant = weights[0].reshape(3, 6, 5) * (image[0] - column(UNEVEN.mean))
    if (weights[0] @ image.ravel()) < 0:
        relevant = -relevant
    overrides = {"runs": "12", "subset_size": "7"} if metric == "faithfulness-correlation" else SMALL
    overrides = {"unit_size": "3"} if metric == "faithfulness-estimate" else overrides
    overrides = {"runs": "12"} if metric == "sensitivity-n" else overrides
    found = scored(
        image,
        {"ours": relevant.sum(axis=0)[None].astype(np.float32), "opposite": -relevant.sum(axis=0)[None]},
        (metric,),
        overrides=overrides,
        readouts=("logit",),
        logits_of=lambda x: weights @ x.ravel(),
    )
    assert value(found, metric, readout="logit").value == pytest.approx(1, abs=1e-4)
    assert value(found, metric, method="opposite", readout="logit").value == pytest.approx(-1, abs=1e-4)


# --------------------------------------------------------------------------------------- other packages


@pytest.mark.parametrize("name", ["gxi3", "noise3", "smooth1"])
@pytest.mark.parametrize("model", BOTH)
def test_quantus_numbers_on_its_own_subsets(oracles, monkeypatch, model, name):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with np.load(oracles / "quantus.npz") as quantus, np.load(oracles / "maps.npz") as maps:
        key = f"{model}|{name}"
        subsets = quantus[f"{key}|FaithfulnessCorrelation|indices"].astype(np.int64)
        correlated = quantus[f"{key}|FaithfulnessCorrelation|runs50|subset96|black"]
        estimate = quantus[f"{key}|FaithfulnessEstimate|step32|black"]
        order = quantus[f"{key}|order_desc"].astype(np.int64)
        stored = {"gxi3": f"gxi3_{model}", "smooth1": "smooth"}.get(name, name)
        chosen = maps[stored]
    given = subsets.transpose(1, 0, 2)

    def drawn(self, rng, book, units, protocol):
        mine = list(given[int(book.given.image)])
        passes = [book.removed_units(protocol.baseline, units, s, np.array([len(s)])) for s in mine]
        return mine, np.concatenate(passes)

    monkeypatch.setattr(FaithfulnessCorrelation, "drawn", drawn)
    found = oracle_scores(oracles, model, {name: chosen}, ("faithfulness-correlation",), preset="quantus-faithfulness")
    # ResNet-20 is saturated: drops of 1e-6 are float32 rounding there, and correlate as they like
    sure = {"a": 1e-4, "b": 2e-2}[model]
    np.testing.assert_allclose(found["faithfulness-correlation", name, "raw"], correlated, rtol=0, atol=sure)
    if name == "smooth1":  # three-way ties everywhere: its own order is its groups
        pending = iter(order)
        monkeypatch.setattr("c2i_fast.metrics.one_at_a_time.pixel_order", lambda values: next(pending))
    found = oracle_scores(
        oracles,
        model,
        {name: chosen},
        ("faithfulness-estimate",),
        preset="quantus-faithfulness",
        overrides={"group_size": "32"},
    )
    np.testing.assert_allclose(found["faithfulness-estimate", name, "raw"], estimate, rtol=0, atol=sure)


@pytest.mark.parametrize(("number", "runs", "key"), [(8, 100, "keep_masks_8x8"), (9, 40, "grid9|keep_masks_32x32")])
@pytest.mark.parametrize("model", BOTH)
def test_xpliques_mu_fidelity_on_its_own_masks(oracles, monkeypatch, model, number, runs, key):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    for name in (f"gradabs_{model}", "smooth"):
        with np.load(oracles / "xplique.npz") as xplique, np.load(oracles / "maps.npz") as maps:
            kept = xplique[f"{model}|{name}|MuFidelity|{key}"]
            expected = float(xplique[f"{model}|{name}|MuFidelity|grid{number}|n{runs}|evaluate"])
            chosen = maps[name]
        kept = np.unpackbits(kept, axis=-1).reshape(8, runs, 32, 32) if number == 9 else kept
        places = cells((32, 32), number)
        firsts = [tuple(np.argwhere(places == c)[0]) for c in range(number**2)]

        def drawn(self, rng, book, units, protocol, kept=kept, firsts=firsts, places=places):
            masks = kept[int(book.given.image)]
            if masks.shape[1:] == (32, 32):  # a mask of pixels is one of our cells, or it is not its grid
                spread = np.stack([mask[tuple(np.array(firsts).T)][places] for mask in masks])
                np.testing.assert_array_equal(spread, masks)
                masks = np.stack([mask[tuple(np.array(firsts).T)] for mask in masks])
            subsets = [np.flatnonzero(mask.ravel() == 0) for mask in masks]
            passes = [book.removed_units(protocol.baseline, units, s, np.array([len(s)])) for s in subsets]
            return subsets, np.concatenate(passes)

        monkeypatch.setattr(FaithfulnessCorrelation, "drawn", drawn)
        overrides = {"unit_size": str(number), "runs": str(runs)}
        found = oracle_scores(oracles, model, {name: chosen}, ("mu-fidelity",), preset="xplique", overrides=overrides)
        mean = found["mu-fidelity", name, "raw"].mean()
        assert mean == pytest.approx(expected, abs={"a": 1e-4, "b": 1e-2}[model])


# --------------------------------------------------------------------------------------- sharing and addresses


@pytest.mark.parametrize("metric", ALL)
def test_maps_share_all_passes_and_draws_depend_on_seed_and_image_alone(metric):
    images, maps = case(3)
    overrides = {"faithfulness-correlation": {"subset_size": "7", "runs": "9"}, "sensitivity-n": {"runs": "9"}}
    overrides = overrides.get(metric, {"unit_size": "4", "samples": "9"} if metric == ALL[3] else SMALL)
    other = {"ours": maps, "theirs": maps[:, ::-1].copy()}
    alone = scored(images, {"ours": maps}, (metric,), overrides=overrides)
    both = scored(images, other, (metric,), overrides=overrides)
    swapped = scored(images, dict(reversed(other.items())), (metric,), overrides=overrides)
    assert [i.plan.passes for i in alone.images] == [i.plan.passes for i in both.images]
    for i in range(3):
        values = {value(f, metric, i).value for f in (alone, both, swapped)}
        assert len(values) == 1
        assert value(both, metric, i, "theirs").value not in values
    reseeded = scored(images, {"ours": maps}, (metric,), overrides=overrides, seed=1)
    assert [r.value for r in reseeded.rows] != [r.value for r in alone.rows]


def test_images_have_subsets_of_their_own():
    images, maps = case(1)
    images, maps = np.repeat(images, 2, axis=0), np.repeat(maps, 2, axis=0)
    rows = scored(images, {"ours": maps}, ("mu-fidelity",), overrides=SMALL).rows
    assert rows[0].value != rows[1].value


# --------------------------------------------------------------------------------------- what is undefined


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("undefined", ["zero", "nan"])
def test_a_zero_map_correlates_with_nothing_and_says_so(metric, undefined):
    images, maps = case(1)
    overrides = {"faithfulness-correlation": {"subset_size": "7", "runs": "9"}, "sensitivity-n": {"runs": "9"}}
    overrides = overrides.get(metric, {"unit_size": "3"}) | {"undefined": undefined}
    found = scored(images, {"ours": np.zeros_like(maps)}, (metric,), overrides=overrides)
    row = value(found, metric)
    assert row.warnings == ("zero map: correlation undefined",)
    assert row.value == 0 if undefined == "zero" else np.isnan(row.value)


def test_a_constant_map_is_undefined_only_where_all_sets_are_of_one_size():
    images, maps = case(1)
    flat = {"ours": np.full_like(maps, 0.1)}
    found = scored(images, flat, ("faithfulness-correlation",), overrides={"subset_size": "7"})
    row = value(found, "faithfulness-correlation")
    assert (row.value, row.warnings) == (0, ("constant map: correlation undefined",))
    found = scored(images, flat, ("mu-fidelity",), overrides=SMALL)
    row = value(found, "mu-fidelity")
    assert row.value != 0
    assert row.warnings == ()


def test_a_model_that_does_not_move_correlates_with_nothing():
    images, maps = case(1)
    found = scored(images, {"ours": maps}, ("mu-fidelity",), overrides=SMALL, logits_of=lambda x: np.array([1.0, 0]))
    assert value(found, "mu-fidelity").value == 0


def test_share_and_size_replace_each_other_and_both_are_refused():
    by_share = protocol_for("c2i", "faithfulness-correlation", {"share": "0.5"})
    assert (by_share.share, by_share.subset_size) == (0.5, None)
    by_size = protocol_for("c2i", "mu-fidelity", {"subset_size": "4"})
    assert (by_size.share, by_size.subset_size) == (None, 4)
    with pytest.raises(InputError, match="both say how large a subset is"):
        protocol_for("c2i", "mu-fidelity", {"subset_size": "4", "share": "0.5"})


def test_other_fields_that_clash_are_named():
    with pytest.raises(InputError, match="unit=patch needs unit_size"):
        protocol_for("c2i", "mu-fidelity", {"unit": "patch"})
    with pytest.raises(InputError, match="unit=pixel has no use for unit_size"):
        protocol_for("c2i", "sensitivity-n", {"unit_size": "3"})
    with pytest.raises(InputError, match="made step by step"):
        protocol_for("c2i", "mu-fidelity", {"baseline": "running-mean"})
    with pytest.raises(InputError, match="share must be a number above 0 and at most 1"):
        protocol_for("c2i", "mu-fidelity", {"share": "1.5"})


def test_more_units_than_there_are():
    images, maps = case(1)
    with pytest.raises(InputError, match="subset_size=224 is more than the 30 units there are"):
        scored(images, {"ours": maps}, ("faithfulness-correlation",))
    with pytest.raises(InputError, match="a grid of 9 cells an axis does not fit"):
        scored(images, {"ours": maps}, ("mu-fidelity",))


@pytest.mark.parametrize(
    ("metric", "field", "text"),
    [
        ("faithfulness-correlation", "baseline", "black"),
        ("faithfulness-correlation", "correlation", "spearman"),
        ("faithfulness-correlation", "subset_size", "3"),
        ("faithfulness-correlation", "unit", "channel"),
        ("faithfulness-correlation", "runs", "7"),
        ("mu-fidelity", "share", "0.5"),
        ("mu-fidelity", "unit_size", "2"),
        ("sensitivity-n", "sizes", "2"),
        ("sensitivity-n", "largest", "0.4"),
        ("faithfulness-estimate", "group_size", "2"),
        ("faithfulness-estimate", "samples", "5"),
    ],
)
def test_every_field_matters(metric, field, text):
    images, maps = case(1)
    first = {"faithfulness-correlation": {"subset_size": "7", "runs": "9"}, "sensitivity-n": {"runs": "9"}}
    overrides = first.get(metric, {"unit_size": "3"})
    before = scored(images, {"ours": maps}, (metric,), overrides=overrides).rows[0].value
    after = scored(images, {"ours": maps}, (metric,), overrides=overrides | {field: text}).rows[0].value
    assert before != after


def test_sampled_groups_are_some_of_all_and_all_where_there_are_few():
    values, rng = np.random.default_rng(0).random(20), np.random.default_rng(1)
    everything = GroupProtocol(name="x", metric="faithfulness-estimate", group_size=3)
    all_groups = [g.tolist() for g in groups_of(values, everything, rng)]
    some = [g.tolist() for g in groups_of(values, replace(everything, samples=4), rng)]
    assert len(some) == 4
    assert all(group in all_groups for group in some)
    assert [g.tolist() for g in groups_of(values, replace(everything, samples=7), rng)] == all_groups


def test_signals_and_the_tomsett_sample():
    rng = np.random.default_rng(3)
    signals, maps = rng.random((1, 3, 40)).astype(np.float32), rng.random((1, 40)).astype(np.float32)
    for metric in ALL:
        overrides = {"subset_size": "9"} if metric == ALL[0] else {}
        assert -1 <= scored(signals, {"ours": maps}, (metric,), overrides=overrides).rows[0].value <= 1
    found = scored(signals, {"ours": maps}, ("faithfulness-estimate",), preset="tomsett")
    assert found.rows[0].passes == 41
    assert protocol_for("tomsett", "faithfulness-estimate").samples == 1024
