"""`c2i_fast.score`: any model, arrays of any kind, and one clear error for what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import c2i_fast
from c2i_fast import Preprocessing, score
from c2i_fast.calibration.file import save_calibrator
from c2i_fast.calibration.recalx import ReCalX, level_of
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.data.memory import MemoryImages, MemoryMaps, as_array, memory_maps
from c2i_fast.data.resize import resize_map
from c2i_fast.errors import C2IError, InputError, MissingDependencyError, NotFittedError, UsageError
from c2i_fast.export.graphs import CONTRACT_KEY, fused_graph
from c2i_fast.memory import Scores
from tests import nets

ENGINE = "onnxruntime"
pytest.importorskip(ENGINE, reason=f"{ENGINE} is not installed")

PREPROCESSING = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CONV = nets.conv_net(3, (6, 5), preprocessing=PREPROCESSING)
RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 3, 6, 5)).astype(np.float32)
MAPS = RNG.normal(size=(3, 6, 5)).astype(np.float32)


def run(model=CONV, images=IMAGES, maps=MAPS, **options) -> Scores:
    content = {"engine": ENGINE, "threads": 1, "overrides": {"intervals": "5"}}
    return score(model, images, maps, **{**content, **options})


def numbers(scores: Scores) -> np.ndarray:
    return np.array([[row.value, *row.curve.values] for row in scores.rows])


def keys(scores: Scores) -> list[tuple]:
    return [(r.image, r.method, r.metric, r.readout, r.target) for r in scores.rows]


BASE = run()


# ------------------------------------------------------------------------------------------------ what comes back


def test_default_metrics_come_with_counts_times_and_the_engine():
    assert keys(BASE) == [
        (str(i), "map", metric, "raw", BASE.rows[3 * i].target)
        for i in range(3)
        for metric in ("deletion", "insertion", "gap")
    ]
    assert (BASE.requested, BASE.run) == (3 * 3 * 6, 3 * 10)
    assert BASE.seconds > 0
    assert BASE.build_seconds > 0
    assert BASE.engine == "onnxruntime fp32: asked for by name"
    assert {r.protocol for r in BASE.rows} == {"c2i+intervals=5"}


def test_the_summary_is_the_mean_over_images():
    for row in BASE.summary():
        values = [r.value for r in BASE.rows if r.metric == row.metric]
        assert row.score.mean == BASE.mean(row.metric) == pytest.approx(np.mean(values))
        assert row.score.n == 3


def test_the_values_are_those_of_the_network_by_loops():
    """One curve of one image, float64 from the pixels on."""
    image, saliency = IMAGES[1].astype(np.float64), MAPS[1]
    order = sorted(range(30), key=lambda i: -saliency.ravel()[i])
    wired = nets.conv_weights(3, 2, 5, 0)
    mean, std = (v.astype(np.float64).reshape(3, 1, 1) for v in PREPROCESSING.channel_stats(3))
    target = int(nets.conv_logits((image - mean) / std, wired).argmax())
    expected = []
    for k in range(6):
        shown = ((image - mean) / std).reshape(3, -1).copy()
        shown[:, order[: k * 30 // 5]] = 0
        z = nets.conv_logits(shown.reshape(3, 6, 5), wired)
        expected.append(np.exp(z[target]) / np.exp(z).sum())
    row = next(r for r in BASE.rows if (r.image, r.metric) == ("1", "deletion"))
    assert row.target == target
    np.testing.assert_allclose(row.curve.values, expected, atol=1e-5)


def test_importing_the_package_offers_score_and_its_names():
    assert c2i_fast.score is score
    assert set(c2i_fast.__all__) <= set(dir(c2i_fast))


# ------------------------------------------------------------------------------------------------ models


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


def conv_module(torch, channels=3, space=(6, 5)):
    return nets.conv_net(channels, space, torch=True).module


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_a_torch_module_gives_the_same_scores_on_every_engine(torch, engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    found = run(conv_module(torch), preprocessing=PREPROCESSING, engine=engine)
    assert keys(found) == keys(BASE)
    np.testing.assert_allclose(numbers(found), numbers(BASE), atol=1e-5)


def test_a_torch_module_of_a_signal_and_one_without_convolution(torch):
    """The number of channels is the images': a network that flattens does not say it."""
    signals = RNG.random((2, 2, 13)).astype(np.float32)
    found = run(conv_module(torch, 2, (13,)), signals, signals[:, 0], engine="torch")
    assert len(found.rows) == 6
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    images = RNG.random((2, 1, 4, 4)).astype(np.float32)
    found = run(flat, images, images[:, 0], engine="torch", overrides={"intervals": "4"})
    assert (len(found.rows), found.requested, found.run) == (6, 30, 16)


def test_scoring_leaves_the_users_module_as_it_was(torch):
    module = conv_module(torch).train()
    module[0].weight.requires_grad_(True)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run(module, engine="torch")
    assert module.training
    assert module[0].weight.requires_grad
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_path_a_fused_file_and_bytes_give_the_same_scores(tmp_path):
    bare = nets.conv_net(3, (6, 5))
    foreign = tmp_path / "net.onnx"
    ir.save(bare.backbone(), foreign)
    for model in (foreign, str(foreign), foreign.read_bytes()):
        np.testing.assert_array_equal(numbers(run(model, preprocessing=PREPROCESSING)), numbers(BASE))
    graph = fused_graph(CONV.backbone(), CONV.contract, None)
    graph.metadata_props[CONTRACT_KEY] = CONV.contract.to_json()
    fused = tmp_path / "fused.onnx"
    ir.save(graph, fused)
    np.testing.assert_array_equal(numbers(run(fused)), numbers(BASE))
    np.testing.assert_array_equal(numbers(run(fused.read_bytes())), numbers(BASE))
    with pytest.raises(UsageError, match="fused file, which carries its own preprocessing"):
        run(fused, preprocessing=PREPROCESSING)


def test_a_file_that_leaves_the_size_open_takes_it_from_preprocessing(tmp_path):
    path = tmp_path / "open.onnx"
    ir.save(nets.conv_net(3, (None, None)).backbone(), path)
    with pytest.raises(InputError, match="leaves the image size open"):
        run(path, preprocessing=PREPROCESSING)
    sized = replace(PREPROCESSING, size=(6, 5))
    np.testing.assert_array_equal(numbers(run(path, preprocessing=sized)), numbers(BASE))


@pytest.mark.parametrize("batch", [4, 7])
def test_a_fixed_batch_gives_the_same_scores(batch):
    fixed = nets.conv_net(3, (6, 5), preprocessing=PREPROCESSING, batch=batch)
    np.testing.assert_allclose(numbers(run(fixed)), numbers(BASE), atol=1e-5)


def test_background_classes_are_dropped_before_anything_is_followed():
    preprocessing = Preprocessing(mean=(0.4,), bgr=True, drop_class=1)
    found = run(nets.conv_net(3, (6, 5), classes=4, preprocessing=preprocessing), readouts=("logit",))
    wired = nets.conv_weights(3, 2, 5, 0)
    for i, image in enumerate(IMAGES):
        logits = nets.conv_logits((image[::-1].astype(np.float64) - np.float32(0.4)), wired)[1:]
        row = found.rows[3 * i]
        assert row.target == int(logits.argmax())
        assert row.curve.values[0] == pytest.approx(logits[row.target], abs=1e-4)


@pytest.mark.parametrize(
    "model", [3, None, "no such model", "net.onnx", len], ids=["number", "none", "words", "absent file", "function"]
)
def test_what_is_no_model_is_an_error_of_ours(model):
    with pytest.raises(C2IError):
        run(model)


# ------------------------------------------------------------------------------------------------ images


def test_pictures_are_read_as_pixels_over_255_channels_last():
    pictures = RNG.integers(0, 256, (3, 6, 5, 3), np.uint8)
    as_floats = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(numbers(run(images=pictures)), numbers(run(images=as_floats)))


@pytest.mark.parametrize("kind", ["float64", "float16", "list", "fortran", "strided", "read-only"])
def test_floats_of_any_width_and_layout_are_taken(kind):
    half = IMAGES.astype(np.float16).astype(np.float32)
    given = {
        "float64": half.astype(np.float64),
        "float16": half.astype(np.float16),
        "list": half.tolist(),
        "fortran": np.asfortranarray(half),
        "strided": np.repeat(half, 2, axis=3)[..., ::2],
        "read-only": half.copy(),
    }[kind]
    if kind == "read-only":
        given.flags.writeable = False
    np.testing.assert_array_equal(numbers(run(images=given)), numbers(run(images=half)))


def test_images_outside_zero_to_one_are_neither_clipped_nor_refused():
    """Float images are in the units the model expects, whatever these are."""
    wide = nets.conv_net(3, (6, 5), preprocessing=Preprocessing(mean=(0.485 * 255,), std=(0.229 * 255,)))
    narrow = nets.conv_net(3, (6, 5), preprocessing=Preprocessing(mean=(0.485,), std=(0.229,)))
    np.testing.assert_allclose(numbers(run(wide, IMAGES * 255)), numbers(run(narrow)), atol=1e-5)


def test_tensors_come_by_dlpack_with_or_without_gradients(torch):
    images, maps = torch.from_numpy(IMAGES.copy()), torch.from_numpy(MAPS.copy())
    images.requires_grad_(True)
    found = run(
        images=images * 1, maps={"map": maps.requires_grad_(True)}, labels=torch.tensor([0, 1, 2]), target="label"
    )
    expected = run(labels=[0, 1, 2], target="label")
    assert keys(found) == keys(expected)
    np.testing.assert_array_equal(numbers(found), numbers(expected))
    pictures = torch.from_numpy(RNG.integers(0, 256, (3, 6, 5, 3), np.uint8))
    assert len(run(images=pictures).rows) == 9


def test_anything_that_speaks_dlpack_is_an_array():
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    np.testing.assert_array_equal(as_array(Foreign(IMAGES.copy())), IMAGES)
    np.testing.assert_array_equal(numbers(run(images=Foreign(IMAGES.copy()), maps=Foreign(MAPS.copy()))), numbers(BASE))


def test_one_image_and_ids_of_ones_own():
    found = run(images=IMAGES[:1], maps=MAPS[:1], ids=["cat.png"])
    assert {r.image for r in found.rows} == {"cat.png"}
    np.testing.assert_array_equal(numbers(found), numbers(BASE)[:3])
    assert found.summary()[0].score.ci95 is None


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((0, 3, 6, 5), np.float32), "empty"),
        (np.zeros((3, 30), np.float32), "must be float"),
        (np.zeros((6, 5, 3), np.uint8), "must be float"),
        (np.zeros((3, 3, 6, 5), np.int64), "must be float"),
        (np.zeros((3, 3, 6, 5), complex), "must be float"),
        (np.float32(1), "must be float"),
        (np.zeros((3, 6, 5, 3), np.float32), r"the model takes images of shape \(3, 6, 5\), got \(6, 5, 3\)"),
        (np.zeros((3, 1, 6, 5), np.float32), r"got \(1, 6, 5\)"),
        (np.zeros((3, 3, 5, 6), np.float32), r"got \(3, 5, 6\)"),
        (np.zeros((3, 3, 30), np.float32), r"got \(3, 30\)"),
    ],
)
def test_images_that_cannot_be_scored_are_input_errors(images, said):
    shape = images.shape[2:] if images.ndim > 2 else (6, 5)
    maps = np.random.default_rng(0).random((3, *(images.shape[1:3] if images.dtype == np.uint8 else shape)))
    with pytest.raises(InputError, match=said):
        run(images=images, maps=maps)


def test_ids_and_labels_must_be_one_an_image():
    for ids in (["a", "b"], ["a", "b", "a"], list("abcd")):
        with pytest.raises(InputError, match="3 images need as many distinct ids"):
            run(ids=ids)
    for labels in ([0, 1], [[0], [1], [2]], 3):
        with pytest.raises(InputError, match="3 images need as many labels"):
            run(labels=labels, target="label")


# ------------------------------------------------------------------------------------------------ maps


def test_a_mapping_names_the_methods_and_each_is_scored_by_itself():
    other = RNG.normal(size=(3, 6, 5))
    found = run(maps={"smooth-random": other, "ours": MAPS})
    assert list(dict.fromkeys(r.method for r in found.rows)) == ["smooth-random", "ours"]
    ours = [[r.value, *r.curve.values] for r in found.rows if r.method == "ours"]
    np.testing.assert_array_equal(ours, numbers(BASE))
    lifts = {(r.method, r.metric): r.lift for r in found.summary()}
    assert lifts["smooth-random", "gap"] is None
    assert lifts["ours", "gap"].mean == pytest.approx(found.mean("gap", "ours") - found.mean("gap", "smooth-random"))


@pytest.mark.parametrize("space", [(1, 1), (2, 3), (3, 3), (12, 10), (7, 4)])
def test_maps_of_any_resolution_are_resized_and_then_ranked(space):
    small = RNG.normal(size=(3, *space)).astype(np.float32)
    large = np.stack([resize_map(m, (6, 5)) for m in small])
    found, expected = run(maps=small), run(maps=large)
    np.testing.assert_array_equal(numbers(found), numbers(expected))
    assert [r.warnings for r in found.rows] == [r.warnings for r in expected.rows]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool, np.float16, np.float64])
def test_maps_of_any_real_type(kind):
    whole = (RNG.permuted(np.tile(np.arange(30), (3, 1)), axis=1).reshape(3, 6, 5) % 2).astype(kind)
    np.testing.assert_array_equal(numbers(run(maps=whole)), numbers(run(maps=whole.astype(np.float32))))


def test_maps_with_a_leading_channel_of_one_are_taken():
    np.testing.assert_array_equal(numbers(run(maps=MAPS[:, None])), numbers(BASE))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_named_with_its_image(bad):
    maps = MAPS.copy()
    maps[2, 0, 0] = bad
    with pytest.raises(InputError, match="map 'mine' of image c: expected finite numbers, but 1 of 30"):
        run(maps={"mine": maps}, ids=list("abc"))


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (MAPS[:2], r"map 'map' must be \(N, \*space\) for 3 images"),
        (MAPS[0, 0], "must be"),
        (MAPS[:, :, 0], "expected 2 axes"),
        (np.zeros((3, 2, 6, 5), np.float32), "expected one map, got"),
        (MAPS.astype(complex), "expected real numbers"),
        (MAPS.astype(object), "expected real numbers"),
        (np.zeros((3, 0, 5), np.float32), "at least one element"),
    ],
)
def test_maps_that_cannot_be_ranked_are_input_errors(maps, said):
    with pytest.raises(InputError, match=said):
        run(maps=maps)


def test_constant_and_tied_maps_are_scored_with_a_warning():
    found = run(maps={"flat": np.ones((3, 6, 5)), "half": np.tile(np.arange(30).reshape(6, 5) // 15, (3, 1, 1))})
    assert {r.method: r.warnings[:1] for r in found.rows} == {"flat": ("constant map",), "half": ("ties=1.00",)}


def test_no_map_at_all_is_an_input_error():
    with pytest.raises(InputError, match="map"):
        run(maps={})


# ------------------------------------------------------------------------------------------------ targets


def test_targets_are_the_top_class_the_label_or_a_class():
    top = [r.target for r in BASE.rows[::3]]
    mean, std = (v.astype(np.float64).reshape(3, 1, 1) for v in PREPROCESSING.channel_stats(3))
    wired = nets.conv_weights(3, 2, 5, 0)
    assert top == [int(nets.conv_logits((image - mean) / std, wired).argmax()) for image in IMAGES]
    assert [r.target for r in run(target="label", labels=[4, 0, 2]).rows[::3]] == [4, 0, 2]
    assert [r.target for r in run(target=3).rows[::3]] == [3, 3, 3]
    np.testing.assert_array_equal(numbers(run(target=3)), numbers(run(target="3")))
    assert run(target=3).rows[0].protocol == "c2i+intervals=5+target=3"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": 5}, r"target.* 5 .*4"),
        ({"target": "label", "labels": [0, 9, 0]}, r"target class 9 of .*1.* is outside the model's 0\.\.4"),
        ({"target": "label"}, "needs one label an image|needs labels"),
        ({"target": "best"}, "must be top1, label, given or a class index"),
        ({"target": -1}, "must be top1"),
    ],
)
def test_targets_that_cannot_be_are_input_errors(options, said):
    with pytest.raises(InputError, match=said):
        run(**options)


# ------------------------------------------------------------------------------------------------ calibration


def test_raw_and_calibrated_stand_side_by_side_and_cost_no_pass(tmp_path):
    calibrator = Temperature.from_parameters({"temperature": 1.8})
    found = run(calibrator=calibrator)
    assert [r.readout for r in found.rows[:6]] == ["raw"] * 3 + ["calibrated"] * 3
    assert found.run == BASE.run
    raw = [[r.value, *r.curve.values] for r in found.rows if r.readout == "raw"]
    np.testing.assert_array_equal(raw, numbers(BASE))
    only = run(calibrator=calibrator, readouts=("calibrated", "logit"))
    assert {r.readout for r in only.rows} == {"calibrated", "logit"}
    path = tmp_path / "cal.json"
    save_calibrator(path, calibrator, classes=5, meta={})
    for given in (path, str(path)):
        np.testing.assert_array_equal(numbers(run(calibrator=given)), numbers(found))


def test_calibrated_curves_are_the_softmax_of_the_calibrated_logits():
    """A linear model whose logits are known: two classes, z and −z."""
    matrix = np.stack([np.full(30, 0.1), np.full(30, -0.1)])
    net = nets.linear_net(matrix, np.zeros(2), 1, (6, 5))
    found = run(
        net, np.ones((1, 1, 6, 5), np.float32), MAPS[:1], calibrator=Temperature.from_parameters({"temperature": 4.0})
    )
    row = next(r for r in found.rows if (r.metric, r.readout) == ("deletion", "calibrated"))
    z = 0.1 * (30 - 6 * np.arange(6)) / 4
    np.testing.assert_allclose(row.curve.values, 1 / (1 + np.exp(-2 * z)), atol=1e-6)


def recalx(levels=3):
    parameters = {"levels": levels, "inverse_temperatures": [2.0, 0.5, 0.1][:levels], "at_bound": [None] * levels}
    return ReCalX.from_parameters({**parameters, "samples": [9] * levels, "baseline": "mean", "mask_law": None})


def test_recalx_reads_every_point_at_the_share_that_is_at_the_baseline():
    """A linear model whose logits are known: two classes, z and −z; deletion and insertion see one image at one λ."""
    matrix = np.stack([np.full(30, 0.1), np.full(30, -0.1)])
    net = nets.linear_net(matrix, np.zeros(2), 1, (6, 5))
    found = run(net, np.ones((1, 1, 6, 5), np.float32), MAPS[:1], calibrator=recalx())
    for metric, shares in (("deletion", np.arange(6) / 5), ("insertion", 1 - np.arange(6) / 5)):
        row = next(r for r in found.rows if (r.metric, r.readout) == (metric, "calibrated"))
        beta = np.array([2.0, 0.5, 0.1])[level_of(shares, 3)]
        np.testing.assert_allclose(row.curve.values, 1 / (1 + np.exp(-2 * beta * 3 * (1 - shares))), atol=1e-6)


def test_recalx_of_another_baseline_is_refused_unless_it_is_said_to_be_ok():
    options = {"calibrator": recalx(), "overrides": {"intervals": "5", "baseline": "black"}}
    with pytest.raises(InputError, match="fitted for the baseline mean"):
        run(**options)
    assert {r.readout for r in run(**options, recalx_mismatch="ok").rows} == {"raw", "calibrated"}
    assert {r.readout for r in run(**options, readouts=("raw",)).rows} == {"raw"}


def test_a_model_that_carries_a_calibrator_uses_it_unless_another_is_given():
    spec = {"method": "temperature", "parameters": {"temperature": 1.8, "at_bound": None}}
    carrying = nets.conv_net(3, (6, 5), preprocessing=PREPROCESSING, calibrator=spec)
    expected = run(calibrator=Temperature.from_parameters({"temperature": 1.8}))
    np.testing.assert_array_equal(numbers(run(carrying)), numbers(expected))
    other = Temperature.from_parameters({"temperature": 0.5})
    np.testing.assert_array_equal(numbers(run(carrying, calibrator=other)), numbers(run(calibrator=other)))


def test_calibrators_that_cannot_serve_are_errors(tmp_path):
    path = tmp_path / "cal.json"
    save_calibrator(path, Temperature.from_parameters({"temperature": 1.8}), classes=7, meta={})
    with pytest.raises(InputError, match="7 classes and the model has 5"):
        run(calibrator=path)
    with pytest.raises(NotFittedError):
        run(calibrator=Temperature())
    with pytest.raises(InputError, match="needs a calibrator"):
        run(readouts=("calibrated",))


# ------------------------------------------------------------------------------------------------ batches and engines


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_batch_size_changes_no_bit_of_a_network_of_single_pixels(engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    net = nets.identity_net(3, (6, 5), preprocessing=PREPROCESSING, torch=engine == "torch")
    expected = None
    for batch_size in (1, 2, 5, 16, 31):
        found = numbers(run(net, engine=engine, batch_size=batch_size, readouts=("logit", "raw")))
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_batch_size_hardly_changes_a_convolutional_network(engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    net = nets.conv_net(3, (6, 5), preprocessing=PREPROCESSING, torch=engine == "torch")
    for batch_size in (1, 3, 32):
        np.testing.assert_allclose(numbers(run(net, engine=engine, batch_size=batch_size)), numbers(BASE), atol=1e-5)


def test_the_same_call_gives_the_same_bits():
    np.testing.assert_array_equal(numbers(run()), numbers(BASE))


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_of_nothing_is_an_input_error(batch_size):
    with pytest.raises(InputError, match=f"batch size must be at least 1, got {batch_size}"):
        run(batch_size=batch_size)
    with pytest.raises(InputError, match="number of threads must be at least 1"):
        run(threads=batch_size)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"engine": "tpu"}, UsageError, "no engine 'tpu'"),
        ({"engine": "torch"}, InputError, "torch engine runs torch models"),
        ({"precision": "fp8"}, UsageError, "no precision 'fp8'; known: fp32, bf16, fp16, int8"),
        ({"metrics": ("deletionn",)}, InputError, "no metric"),
        ({"preset": "x"}, InputError, "no preset"),
        ({"readouts": ("softmax",)}, InputError, "no read-out"),
        ({"overrides": {"intervals": "31"}}, InputError, r"31 intervals do not fit a map of 30 elements; .* 1\.\.30"),
        ({"overrides": {"baseline": "static"}}, InputError, "no baseline 'static'"),
        ({"overrides": {"intervals": "4", "pixels_per_step": "4"}}, InputError, "both say"),
    ],
)
def test_options_that_cannot_be_are_errors_of_ours(options, error, said):
    with pytest.raises(error, match=said):
        run(**options)


def test_a_missing_engine_is_an_error_with_the_install_line(monkeypatch):
    import c2i_fast.engines.select as select

    monkeypatch.setattr(select, "installed", lambda engine: engine != "openvino")
    with pytest.raises(MissingDependencyError, match=r"pip install 'c2i-fast\[cpu\]'"):
        run(engine="openvino")


# ------------------------------------------------------------------------------------------------ sources


def test_memory_sources_have_the_manners_of_those_on_disk():
    images = MemoryImages(IMAGES, labels=np.array([1, 2, 3]))
    assert [(i.index, i.id, i.labels) for i in images.stream(start=1)] == [(1, "1", (2,)), (2, "2", (3,))]
    assert images.fingerprint() == MemoryImages(IMAGES.copy()).fingerprint()
    changed = IMAGES.copy()
    changed[2, 0, 0, 0] += 1e-3
    assert images.fingerprint() != MemoryImages(changed).fingerprint()
    maps = MemoryMaps("m", MAPS, ["a.png", "b.png", "c.png"])
    assert maps.find("a") is None, "arrays are matched by position, never by a stem"
    assert maps.find("b.png") == "b.png"
    np.testing.assert_array_equal(maps.load("b.png", (6, 5)), MAPS[1])
    assert maps.fingerprint() == MemoryMaps("other", MAPS.copy(), list("abc")).fingerprint()
    assert list(memory_maps(MAPS, list("abc"))) == ["map"]


def test_images_handed_out_cannot_be_written_to():
    image = next(MemoryImages(IMAGES).stream())
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0, 0] = 1
    assert IMAGES.flags.writeable


def test_nothing_is_written_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run()
    assert list(Path(tmp_path).iterdir()) == []


def test_two_methods_or_more_say_how_far_to_trust_their_ranking():
    from c2i_fast.results.summary import score_rows, values_by_cell
    from c2i_fast.results.trust import trust

    scores = run(maps={"one": MAPS, "two": MAPS[::-1].copy(), "three": -MAPS})
    found = scores.trust()
    assert [(entry.metric, entry.readout) for entry in found] == [
        (metric, "raw") for metric in ("deletion", "insertion", "gap")
    ]
    assert found == trust(values_by_cell(score_rows(scores.rows)))
    assert [len(entry.pairs) for entry in found] == [3, 3, 3]
    assert run().trust() == []
