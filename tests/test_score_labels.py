"""Per-label curves of sigmoid heads: every label its rows from shared passes, against pixel-by-pixel loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from c2i_fast import score
from c2i_fast.attribution.base import Context
from c2i_fast.attribution.rise import Rise
from c2i_fast.calibration.platt import Platt
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.errors import InputError, UsageError
from c2i_fast.metrics.measures import make_measures
from c2i_fast.metrics.target import check_targets, target_classes
from c2i_fast.results.summary import score_rows, values_by_cell
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import Preprocessing, Reading
from tests import nets

SHAPE, INTERVALS = (3, 4, 3), 4
LABELS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]])


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


class ReadingNumpy(nets.NumpyPasses):
    """Passes that can read where they are, in loops."""

    def read(self, plans, work, reading: Reading):
        self.calls.append(("read", len(work)))
        logits = nets.NumpyPasses(self.logits_of).select(plans, work)
        rows = zip(logits, reading.targets, reading.scales, strict=True)
        values = [[_read(z[t], z, k, s) for k, s in zip(reading.kinds, own, strict=True)] for z, t, own in rows]
        return np.array(values, np.float32)


def _read(target, z, kind, scale):
    if kind == 1:
        return target
    return sigmoid(target * scale) if kind == 2 else math.exp(target * scale) / np.exp(z * scale).sum()


def case(classes=3):
    rng = np.random.default_rng(0)
    return (
        rng.random((3, *SHAPE)).astype(np.float32),
        rng.normal(size=(3, *SHAPE[1:])),
        nets.smooth_function(SHAPE, classes, seed=1),
    )


def task(target="label", **options):
    measures = make_measures(("deletion", "insertion"), ("c2i",), {"intervals": "4", "target": target})
    content = {"measures": measures, "readouts": ("raw", "logit"), "activation": "sigmoid"}
    return ScoreTask(**content, preprocessing=Preprocessing(mean=(0.4,)), **options)


def streamed(the_task, labels=LABELS, passes=None, classes=3, **options):
    images, maps, net = case(classes)
    source = MemoryImages(images, labels=labels, classes=classes)
    passes = passes or nets.NumpyPasses(net)
    parts = score_stream(source.stream(), memory_maps(maps, source.ids), passes, the_task, **options)
    return [image for part in parts for image in part.images]


def curve_by_loops(image, saliency, net, label, *, insertion, squash):
    """Deletion (or insertion) of one label, pixel by pixel, float64."""
    order = sorted(range(saliency.size), key=lambda i: (-saliency.ravel()[i], i))
    grey = np.full_like(image, 0.4)
    start, end = (grey, image) if insertion else (image, grey)
    values = []
    for k in range(INTERVALS + 1):
        changed = k * saliency.size / INTERVALS
        count = math.ceil(changed) if insertion else math.floor(changed)
        shown = start.reshape(3, -1).copy()
        for place in order[:count]:
            shown[:, place] = end.reshape(3, -1)[:, place]
        z = float(np.float32(net(shown.reshape(image.shape))[label]))
        values.append(sigmoid(z) if squash else z)
    return values


def test_every_label_has_the_curves_of_the_definition():
    images, maps, net = case()
    for number, scored in enumerate(streamed(task())):
        assert scored.targets == tuple(np.flatnonzero(LABELS[number]))
        assert len(scored.scores) == len(scored.targets) * 2 * 2
        for row in scored.scores:
            expected = curve_by_loops(
                images[number], maps[number], net, row.target,
                insertion=row.metric == "insertion", squash=row.readout == "raw",
            )  # fmt: skip
            np.testing.assert_allclose(row.curve.values, expected, rtol=1e-6)


def test_several_labels_cost_the_passes_of_one():
    several, single = (nets.NumpyPasses(case()[2]) for _ in range(2))
    streamed(task(), passes=several)
    streamed(task("top1"), passes=single)
    assert sum(map(len, several.calls)) == sum(map(len, single.calls))


def test_top1_is_the_largest_logit_and_an_index_is_itself():
    assert [s.targets for s in streamed(task("1"))] == [(1,)] * 3
    for scored in streamed(task("top1")):
        assert scored.targets == (int(scored.logits[scored.plan.clean].argmax()),)


@pytest.mark.parametrize("labels", [LABELS, np.eye(3, dtype=int)])
def test_a_device_that_reads_gives_the_same_rows(labels):
    reader = ReadingNumpy(case()[2])
    calibrated = {"readouts": ("raw", "calibrated"), "calibrator": Temperature.from_parameters({"temperature": 2})}
    the_task = replace(task(), **calibrated)
    read = streamed(the_task, labels, reader, keep_logits=False)
    whole = streamed(the_task, labels)
    single = labels.sum() == len(labels)
    assert any(call[0] == "read" for call in reader.calls if isinstance(call, tuple)) == single
    for a, b in zip(read, whole, strict=True):
        assert a.targets == b.targets
        assert [(r.target, r.readout, r.metric) for r in a.scores] == [
            (r.target, r.readout, r.metric) for r in b.scores
        ]
        for one, other in zip(a.scores, b.scores, strict=True):
            np.testing.assert_allclose(one.curve.values, other.curve.values, atol=1e-6)


def test_means_are_over_images_each_the_mean_of_its_labels():
    rows = [row for scored in streamed(task()) for row in scored.scores]
    cells = values_by_cell(score_rows(rows))
    for (_, metric, _, readout), values in cells.items():
        for image, value in values.items():
            own = [r.value for r in rows if (r.image, r.metric, r.readout) == (image, metric, readout)]
            assert len(own) == LABELS[int(image)].sum()
            assert value == pytest.approx(sum(own) / len(own), rel=1e-15)


def test_a_softmax_head_keeps_exactly_one_label():
    assert target_classes("a", (2,), None, np.zeros(3), "label", "softmax") == (2,)
    with pytest.raises(InputError, match="one label an image; 'a' has 2"):
        target_classes("a", (0, 2), None, np.zeros(3), "label", "softmax")
    with pytest.raises(InputError, match="'a' has none"):
        target_classes("a", (), None, np.zeros(3), "label", "sigmoid")


def test_images_without_a_label_are_told_before_any_pass():
    source = MemoryImages(case()[0], labels=LABELS * [[1], [0], [1]], classes=3)
    with pytest.raises(InputError, match=r"1 of 3 images have no label to follow, 1 among them; .*--on-error skip"):
        check_targets("label", source, 3, activation="sigmoid")
    check_targets("label", source, 3, activation="sigmoid", on_error="skip")
    with pytest.raises(InputError, match="needs one label an image; 0 has 2"):
        check_targets("label", source, 3)
    none = MemoryImages(case()[0], labels=LABELS * 0, classes=3)
    with pytest.raises(InputError, match="3 of 3 images have no label"):
        check_targets("label", none, 3, activation="sigmoid", on_error="skip")


@pytest.mark.parametrize("labels", [LABELS, [[0, 2], [1], [0, 1, 2]]])
def test_the_python_api_follows_each_label(labels):
    images, maps, _ = case()
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(3, 36)) / 6
    net = nets.linear_net(matrix, np.zeros(3), 3, SHAPE[1:], activation="sigmoid", preprocessing=Preprocessing())
    fitted = Platt.from_parameters({"slopes": [1, 2, -1], "intercepts": [0.5, 0, 0]})
    found = score(net, images, maps, target="label", labels=labels, calibrator=fitted, overrides={"intervals": "4"})
    clean = {(r.image, r.target): r.curve.values[0] for r in found.rows if (r.metric, r.readout) == ("deletion", "raw")}
    after = {
        (r.image, r.target): r.curve.values[0]
        for r in found.rows
        if (r.metric, r.readout) == ("deletion", "calibrated")
    }
    assert sorted(clean) == [(str(n), k) for n in range(3) for k in np.flatnonzero(LABELS[n])]
    for (image, k), value in clean.items():
        z = float(matrix[k] @ images[int(image)].astype(np.float64).ravel())
        assert value == pytest.approx(sigmoid(z), abs=1e-5)
        assert after[image, k] == pytest.approx(sigmoid([1, 2, -1][k] * z + [0.5, 0, 0][k]), abs=1e-5)
    assert found.run < found.requested


def test_the_python_api_takes_a_torch_module_of_one_output():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 1))
    images, maps, _ = case()
    options = {"activation": "sigmoid", "target": "label", "engine": "torch", "overrides": {"intervals": "4"}}
    found = score(net, images, maps, labels=[1, 1, 1], **options)
    assert {row.target for row in found.rows} == {0}
    with torch.no_grad():
        z = net(torch.from_numpy(images))[:, 0].tolist()
    first = [row.curve.values[0] for row in found.rows if row.metric == "deletion"]
    np.testing.assert_allclose(first, [sigmoid(v) for v in z], rtol=1e-5)
    with pytest.raises(InputError, match="1 of 3 images have no label"):
        score(net, images, maps, labels=[1, 0, 1], **options)


def test_a_head_or_a_calibrator_of_the_other_kind_is_refused():
    images, maps, _ = case()
    net = nets.conv_net(3, SHAPE[1:], 3, activation="sigmoid")
    with pytest.raises(UsageError, match="has a sigmoid head already"):
        score(net, images, maps, activation="softmax")
    fitted = Platt.from_parameters({"slopes": [1, 1, 1], "intercepts": [0, 0, 0]})
    with pytest.raises(InputError, match="platt is for sigmoid heads"):
        score(nets.conv_net(3, SHAPE[1:], 3), images, maps, calibrator=fitted)


def test_rise_follows_the_sigmoid_of_a_sigmoid_head():
    """Under a softmax the only class of a one-output head would have probability 1 whatever is shown."""
    logits = np.array([[0.3], [-2.0]])
    np.testing.assert_allclose(
        Context(activation="sigmoid").read(logits, np.zeros(2, int)), [sigmoid(0.3), sigmoid(-2)]
    )

    class Blends:
        def blend(self, plans, grids, axes, work):
            return np.array([[3 * float(grids[m].mean())] for _, m in work], np.float32)

    context = Context(passes=Blends(), activation="sigmoid", options={"masks": 16, "grid": 2})
    rise = Rise(context)
    found = rise.explain(["a"], np.zeros((1, *SHAPE), np.float32), np.zeros(1, int))
    masks = rise._masks_for(SHAPE[1:])
    weights = np.array([sigmoid(3 * float(grid.mean())) for grid in masks.grids])
    np.testing.assert_allclose(found[0], masks.weighted_sum(weights) / 8, rtol=1e-5)
