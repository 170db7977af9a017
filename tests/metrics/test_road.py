"""ROAD: which pixels go, what they become, and what pytorch-grad-cam says of the same maps."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast import Preprocessing, score
from c2i_fast.data.source import Image
from c2i_fast.errors import InputError
from c2i_fast.metrics.base import METRICS, MapCase
from c2i_fast.metrics.measures import make_measures
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.metrics.road import RoadProtocol, removals
from c2i_fast.perturb.baseline import Given
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.curve import RankedMap
from c2i_fast.perturb.imputer import impute
from c2i_fast.protocols import Protocol
from c2i_fast.score import ScoreTask, plan_measures
from tests.metrics.test_oracles import FILES, PREPROCESSING
from tests.perturb.test_imputer import dense

PERCENTAGES = (10, 20, 30, 40, 50, 70, 90)
PLAIN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def picture(seed: int = 0, shape=(3, 12, 10)) -> Image:
    return Image(index=0, id="a.png", pixels=np.random.default_rng(seed).random(shape).astype(np.float32))


def saliency(seed: int = 1, shape=(12, 10)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def asked(protocols, values, image=None, seed=0, method="m"):
    """A book after one request, and the request."""
    image = image or picture()
    book = Book(given=Given(pixels=image.pixels, preprocessing=PLAIN, image=image.id, seed=seed))
    case = MapCase(image=image, method=method, ranked=RankedMap(saliency=values), seed=seed)
    name = "road-combined" if len(protocols) == 2 else protocols[0].metric
    return book, METRICS[name].request(case, book, protocols)


def images_of(book, passes) -> list[np.ndarray]:
    """The images of passes that are no clean one."""
    _, work, direct, _, renumbered = book.close()
    return [direct[number - len(work)] for number in renumbered(np.asarray(passes)) if number >= len(work)]


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("ties", ["index", "reverse-index"])
def test_exact_counts_by_rank_whatever_the_ties(order, ties):
    values = np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.float32)
    protocol = RoadProtocol(name="x", metric="road-morf", order=order, ties=ties)
    flat = values.ravel()
    ranked = sorted(range(63), key=lambda p: (-flat[p], p if ties == "index" else -p))
    ranked = ranked if order == "morf" else ranked[::-1]
    for percentage, removed in zip(PERCENTAGES, removals(values, protocol), strict=True):
        assert set(np.flatnonzero(removed)) == set(ranked[: percentage * 63 // 100])


def test_together_removes_whole_ties_as_thresholds_do():
    """A map of 90 % zeros: MoRF at 50 % is everything, which the map's warnings say."""
    values = np.zeros((10, 10), np.float32)
    values[0] = np.arange(1, 11)
    protocol = RoadProtocol(name="x", metric="road-morf", percentages=(5, 50), ties="together")
    few, half = removals(values, protocol)
    assert set(np.flatnonzero(few)) == {5, 6, 7, 8, 9}
    assert half.all()
    _, request = asked([protocol], values, picture(shape=(3, 10, 10)))
    assert "nothing left to impute from at 50 %" in request.warnings
    assert not any("at 5 %" in line for line in request.warnings)
    assert any(line.startswith("ties=") for line in request.warnings)


def test_the_images_are_the_dense_solution_and_noise_where_pixels_were_removed():
    protocol = protocol_for("c2i", "road-morf")
    image, values = picture(), saliency()
    book, request = asked([protocol], values, image)
    shown = images_of(book, request.passes)
    assert request.x[:-1].tolist() == [int(q * 120 / 100) / 120 for q in PERCENTAGES]
    spread = []
    for made, removed in zip(shown, removals(values, protocol), strict=True):
        np.testing.assert_array_equal(made[:, ~removed], image.pixels[:, ~removed])
        spread.append((made - dense(image.pixels, removed))[:, removed].ravel())
    noise = np.concatenate(spread)
    assert noise.std() == pytest.approx(0.01, rel=0.1)
    assert abs(noise.mean()) < 0.002
    assert np.unique(noise.round(7)).size > 0.95 * noise.size


def test_noise_in_normalised_space_is_the_channels_deviation_in_pixels():
    image, values = picture(), saliency()
    made = {}
    for space in ("pixel", "normalised"):
        protocol = protocol_for("c2i", "road-morf", {"space": space})
        book, request = asked([protocol], values, image)
        made[space] = images_of(book, request.passes)[3]
    removed = removals(values, protocol)[3]
    plain = impute(image.pixels, removed)
    ratio = (made["normalised"] - plain)[:, removed] / (made["pixel"] - plain)[:, removed]
    np.testing.assert_allclose(np.median(ratio, axis=1), [0.2, 0.25, 0.3], rtol=1e-3)


def test_noise_is_the_same_for_every_method_and_order_and_another_for_every_image_and_seed():
    def noise(values, *, order="morf", image=None, seed=0):
        protocol = RoadProtocol(name="x", metric="road-morf", order=order, percentages=(50, 90))
        image = image or picture()
        book, request = asked([protocol], values, image, seed, method=str(values.sum()))
        shown = images_of(book, request.passes)[1]
        removed = removals(values, protocol)[1]
        return np.where(removed, shown - impute(image.pixels, removed), np.nan)

    def equal(a, b):
        both = ~np.isnan(a + b)
        assert both.sum() > 100
        return np.allclose(a[both], b[both], atol=1e-6)

    first = noise(saliency(1))
    assert equal(first, noise(saliency(2)))
    assert equal(first, noise(saliency(1), order="lerf"))
    assert not equal(first, noise(saliency(1), seed=1))
    other = Image(index=3, id="b.png", pixels=picture().pixels)
    assert not equal(first, noise(saliency(1), image=other))


def test_values_are_mean_changes_and_combined_is_half_their_difference():
    """A linear network's answers, from the definition in float64."""
    image, values = picture(), saliency()
    weights = np.random.default_rng(5).normal(size=image.pixels.size)
    measures = make_measures(("road-morf", "road-lerf", "road-combined"), ("c2i",), {"noise": "0"})
    expected = {}
    for measure in measures:
        book, request = asked(list(measure.protocols), values, image)
        _, work, direct, _, renumbered = book.close()
        read = [
            weights @ (image.pixels if n < len(work) else direct[n - len(work)]).ravel().astype(float)
            for n in renumbered(request.passes)
        ]
        found = measure.metric.measure(request, np.array(read), measure.protocols)
        expected[measure.metric.name] = found.value
        assert found.curve is not None
        assert found.curve.values.mean() == pytest.approx(found.value, abs=1e-12)
    for order in ("morf", "lerf"):
        protocol = next(m.protocol for m in measures if m.metric.name == f"road-{order}")
        shown = [dense(image.pixels, removed) for removed in removals(values, protocol)]
        slow = np.mean([weights @ (made - image.pixels).ravel() for made in shown])
        assert expected[f"road-{order}"] == pytest.approx(slow, abs=5e-3)  # 1e-4 a pixel through 360 weights
    half = (expected["road-lerf"] - expected["road-morf"]) / 2
    assert expected["road-combined"] == pytest.approx(half, abs=1e-12)


def test_the_three_metrics_of_a_map_share_their_images():
    measures = make_measures(("road-morf", "road-lerf", "road-combined"), ("c2i",))
    task = ScoreTask(measures=measures, readouts=("raw",), preprocessing=PLAIN)
    plan = plan_measures(picture(), {"m": saliency(), "again": saliency()}, task)
    assert len(plan.direct) == 2 * len(PERCENTAGES)
    assert plan.passes == 2 * len(PERCENTAGES) + 1
    np.testing.assert_allclose(
        sorted(set(plan.perturbed_fraction.round(6))), [0, *(q * 120 // 100 / 120 for q in PERCENTAGES)], atol=1e-6
    )


def test_the_protocol_survives_json_and_every_field_is_in_its_hash():
    protocol = protocol_for("gradcam-road", "road-lerf", {"noise": "0.02"})
    assert protocol.name == "gradcam-road+noise=0.02"
    assert Protocol.from_dict(protocol.to_dict()) == protocol
    others = {"noise": "0", "space": "pixel", "ties": "index", "target": "label"}
    hashes = {protocol_for("gradcam-road", "road-lerf", {name: value}).hash() for name, value in others.items()}
    assert len(hashes | {protocol.hash()}) == 5


def test_signals_are_refused():
    image = Image(index=0, id="s", pixels=np.zeros((2, 20), np.float32))
    with pytest.raises(InputError, match="leave out the road metrics"):
        asked([protocol_for("c2i", "road-morf")], np.arange(20, dtype=np.float32), image)


# ------------------------------------------------------------------------------ pytorch-grad-cam 1.5.7


@pytest.mark.parametrize(("model", "name"), [("a", "smooth"), ("b", "gradabs_b")])
def test_scores_are_those_of_pytorch_grad_cam(oracles, model, name):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with np.load(oracles / "gradcam_road.npz") as road, np.load(oracles / "images.npz") as images:
        stored = {key.removeprefix(f"{model}|{name}|"): road[key] for key in road if key.startswith(f"{model}|{name}|")}
        pictures = images["images_u8"]
    if "cam" not in stored:
        pytest.skip(f"no ROAD of {name} is stored")
    found = score(
        oracles / FILES[model],
        pictures,
        {"cam": stored["cam"]},
        preset="gradcam-road",
        overrides={"noise": "0"},
        readouts=("raw", "logit"),
        preprocessing=PREPROCESSING[model],
        engine="onnxruntime",
        threads=1,
    )
    checked = 0
    for readout, key, tolerance in (("raw", "softmax", 2e-4), ("logit", "logit", 2e-3)):
        for order in ("morf", "lerf", "combined"):
            expected = stored.get(f"{order}|{key}|noise0")
            rows = [r for r in found.rows if (r.metric, r.readout) == (f"road-{order}", readout)]
            if expected is None:
                continue
            checked += 1
            per_image = expected if order == "combined" else expected.mean(axis=0)
            np.testing.assert_allclose([r.value for r in rows], per_image, rtol=0, atol=tolerance)
            if order != "combined":  # theirs from percentile 10, which removes 90 %, to 90
                curves = np.stack([r.curve.values[::-1] for r in rows], axis=1)
                np.testing.assert_allclose(curves, expected, rtol=0, atol=5 * tolerance)
    assert checked >= 3


def test_removed_and_imputed_pixels_are_those_of_pytorch_grad_cam(oracles):
    """Every stored mask, bit by bit, and the pixels imputed in normalised space."""
    masks = imputed = 0
    with np.load(oracles / "gradcam_road.npz") as road, np.load(oracles / "images.npz") as images:
        inputs = {model: images[f"x_{model}"] for model in "ab"}
        for key in (key for key in road if key.endswith("|removed")):
            model, name, order, percentile, _ = key.split("|")
            if f"{model}|{name}|cam" not in road.files:
                continue
            q = int(percentile[1:])
            protocol = RoadProtocol(name="x", metric="x", order=order, percentages=(100 - q,), ties="together")
            ours = np.stack([removals(cam, protocol)[0] for cam in road[f"{model}|{name}|cam"]])
            theirs = np.unpackbits(road[key], axis=1).reshape(ours.shape).astype(bool)
            np.testing.assert_array_equal(ours, theirs)
            masks += 1
            if (stored := key.replace("|removed", "|imputed")) in road.files:
                made = np.stack([impute(x, removed) for x, removed in zip(inputs[model], ours, strict=True)])
                np.testing.assert_allclose(made, road[stored], rtol=0, atol=5e-4)  # 1e-4 of a spread of up to 4.8
                imputed += 1
    assert masks >= 60
    assert imputed >= 6
