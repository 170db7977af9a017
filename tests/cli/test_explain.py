"""`explain`: maps for every image, resumed and replaced without losing what is not its own."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from c2i_fast.attribution.base import Context
from c2i_fast.attribution.controls import Center, RandomNoise
from tests.cli.things import done, pictures, run, write_folder


@pytest.fixture
def explain(net, npz, tmp_path):
    """Runs `explain` into a folder of its own and returns it with the JSON."""
    count = iter(range(100))

    def make(*options, model=net, images=npz, out=None):
        out = out or tmp_path / f"maps-{next(count)}"
        return out, done("explain", model, "--images", images, "--out", out, "--json", *options).json

    return make


RISE = ("--method", "rise", "--masks", "40", "--grid", "4")


def read(folder: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(folder).with_suffix("")): np.load(p) for p in sorted(folder.rglob("*.npy"))}


def pixels(count: int = 12) -> np.ndarray:
    return pictures(count)[0].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def test_the_json_keeps_its_keys_and_counts(explain):
    out, content = explain(*RISE, "--method", "center")
    assert set(content) >= {"out", "methods"}
    assert content["out"] == str(out)
    rise, center = content["methods"]
    assert set(rise) >= {"name", "maps", "seconds", "passes", "path"}
    assert (rise["name"], rise["maps"], rise["passes"]) == ("rise", 12, 12 * 40)
    assert (center["name"], center["maps"], center["passes"]) == ("center", 12, 0)
    assert rise["path"] == str(out / "rise")
    assert rise["seconds"] > 0


def test_there_is_a_finite_map_of_every_image(explain):
    out, _ = explain(*RISE, "--method", "sobel")
    maps = read(out)
    assert set(maps) == {f"{method}/{i}" for method in ("rise", "sobel") for i in range(12)}
    assert all(m.shape == (16, 16) and m.dtype == np.float32 and np.isfinite(m).all() for m in maps.values())
    assert all(np.ptp(m) > 0 for m in maps.values())


def test_controls_are_the_librarys(explain):
    out, _ = explain("--method", "center", "--method", "random", "--seed", "4")
    ids, images = [str(i) for i in range(12)], pixels()
    for control in (Center, RandomNoise):
        expected = control(Context(seed=4)).explain(ids, images, np.zeros(12, int))
        np.testing.assert_array_equal(list(read(out / control.name).values()), [expected[i] for i in _order()])


def _order() -> list[int]:
    return sorted(range(12), key=str)


def test_rise_is_its_definition(explain, net):
    """Mean over masks of the mask times the target's probability, over p: from the masks the method itself draws."""
    import onnxruntime
    from scipy.special import softmax

    from c2i_fast.attribution.rise import Rise
    from c2i_fast.types import Preprocessing

    session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])

    class Passes:
        """Masks made by hand."""

        def blend(self, plans, grids, axes, work):
            answers = []
            for plan, mask in work:
                shown = axes[0][mask] @ grids[mask] @ axes[1][mask].T
                image = plans[plan].start * (1 - shown) + plans[plan].end * shown
                answers.append(session.run(None, {"image": image[None].astype(np.float32)})[0][0])
            return np.array(answers)

    out, _ = explain(*RISE, "--limit", "2")
    images = pixels()[:2]
    targets = session.run(None, {"image": images})[0].argmax(1)
    options = {"masks": 40, "grid": 4}
    method = Rise(Context(passes=Passes(), preprocessing=Preprocessing(), options=options))
    expected = method.explain(["0", "1"], images, targets)
    np.testing.assert_allclose(list(read(out / "rise").values()), expected, atol=1e-5)
    assert softmax(session.run(None, {"image": images})[0], axis=1).max() < 1


@pytest.mark.parametrize(
    "change",
    [
        ("--masks", "41"),
        ("--grid", "5"),
        ("--keep", "0.4"),
        ("--seed", "1"),
        ("--target", "2"),
        ("--target", "given"),
        ("--mean", "0.4"),
    ],
)
def test_what_must_matter(explain, change):
    first, second = read(explain(*RISE)[0]), read(explain(*RISE, *change)[0])
    assert first.keys() == second.keys()
    assert any(not np.allclose(first[key], second[key], atol=1e-4) for key in first)


@pytest.mark.parametrize(
    "same",
    [("--batch-size", "7"), ("--threads", "1"), ("--workers", "5"), ("--device", "cpu"), ("--precision", "fp32")],
)
def test_what_must_not_matter(explain, same):
    first, second = read(explain(*RISE)[0]), read(explain(*RISE, *same)[0])
    for key in first:
        np.testing.assert_allclose(first[key], second[key], atol=1e-6)


def test_engines_agree(explain):
    pytest.importorskip("openvino")
    first, second = (read(explain(*RISE, "--engine", engine)[0]) for engine in ("onnxruntime", "openvino"))
    for key in first:
        np.testing.assert_allclose(first[key], second[key], atol=1e-4)


def test_a_target_may_be_the_label(explain, npz):
    by_label = read(explain(*RISE, "--target", "label")[0])
    labels = np.load(npz)["labels"]
    for label in range(3):
        fixed = read(explain(*RISE, "--target", str(label))[0])
        for number in np.flatnonzero(labels == label):
            np.testing.assert_array_equal(by_label[f"rise/{number}"], fixed[f"rise/{number}"])


def test_a_map_does_not_depend_on_the_images_beside_it(explain, tmp_path):
    images, labels = pictures(12)
    chosen = [7, 2]
    np.savez(tmp_path / "two.npz", images=images[chosen], labels=labels[chosen], ids=np.array(["7", "2"]))
    whole = read(explain(*RISE, "--method", "random")[0])
    alone = read(explain(*RISE, "--method", "random", images=tmp_path / "two.npz")[0])
    assert len(alone) == 4
    for key, values in alone.items():
        np.testing.assert_allclose(values, whole[key], atol=1e-6)


def test_size_and_crop_prepare_the_pictures(explain, net, tmp_path):
    from PIL import Image

    (tmp_path / "large").mkdir()
    large = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "large" / "a.png")
    options = ("--method", "sobel", "--size", "16")
    squashed = read(explain(*options, images=tmp_path / "large")[0])["sobel/a.png"]
    cropped = read(explain(*options, "--crop", "0.8", images=tmp_path / "large")[0])["sobel/a.png"]
    resized = Image.fromarray(large).resize((30, 20), Image.Resampling.BILINEAR).crop((7, 2, 23, 18))
    Image.fromarray(np.asarray(resized)).save(tmp_path / "large" / "b.png")
    by_hand = read(explain("--method", "sobel", images=tmp_path / "large")[0])["sobel/b.png"]
    np.testing.assert_array_equal(cropped, by_hand)
    assert np.abs(cropped - squashed).max() > 0.01


def test_limit_takes_the_first_images(explain):
    out, content = explain("--method", "center", "--limit", "5")
    assert content["methods"][0]["maps"] == 5
    assert set(read(out)) == {f"center/{i}" for i in range(5)}


def test_folders_give_maps_at_the_same_relative_places(explain, folder):
    out, _ = explain("--method", "sobel", images=folder)
    pictures_there = {str(p.relative_to(folder)) for p in folder.rglob("*.png")}
    assert set(read(out)) == {f"sobel/{name}" for name in pictures_there}


@pytest.mark.parametrize("lost", [1, 5, 12])
def test_resuming_makes_only_what_is_missing_and_the_same_bit_for_bit(explain, lost):
    out, _ = explain(*RISE, "--method", "smooth-random")
    before = read(out)
    for number in range(lost):
        (out / "rise" / f"{number}.npy").unlink()
    untouched = (out / "rise" / "11.npy").stat().st_mtime_ns if lost < 12 else None
    _, content = explain(*RISE, "--method", "smooth-random", "--resume", out=out)
    assert content["methods"][0]["maps"] == lost
    after = read(out)
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_array_equal(before[key], after[key])
    assert untouched is None or (out / "rise" / "11.npy").stat().st_mtime_ns == untouched


def test_resuming_nothing_starts_afresh_and_a_finished_one_does_nothing(explain, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "absent", tmp_path / "empty"):
        _, content = explain("--method", "center", "--resume", out=out)
        assert content["methods"][0]["maps"] == 12
        _, content = explain("--method", "center", "--resume", out=out)
        assert content["methods"][0]["maps"] == 0


def test_force_replaces_only_what_explain_wrote(net, npz, explain):
    out, _ = explain("--method", "center", "--method", "sobel")
    (out / "notes.txt").write_text("mine")
    (out / "own").mkdir()
    np.save(out / "own" / "0.npy", np.ones(3))
    assert run("explain", net, "--images", npz, "--method", "random", "--out", out).code == 1
    assert set(read(out / "sobel")) == {str(i) for i in range(12)}
    explain("--method", "random", "--force", out=out)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "own" / "0.npy").exists()
    assert not (out / "center").exists()
    assert not (out / "sobel").exists()
    assert [m["name"] for m in json.loads((out / "explain.json").read_text())["methods"]] == ["random"]


def test_force_keeps_the_old_maps_where_the_new_input_is_wrong(explain, net, npz):
    out, _ = explain("--method", "center")
    answer = run("explain", net, "--images", npz, "--method", "rise", "--target", "9", "--out", out, "--force")
    assert answer.code == 1
    assert len(read(out / "center")) == 12


def test_images_that_cannot_be_read_are_left_out_and_counted(net, tmp_path):
    write_folder(tmp_path / "val", 6)
    (tmp_path / "val" / "1" / "broken.jpg").write_text("no picture")
    options = ("--images", tmp_path / "val", "--method", "center", "--on-error", "skip", "--json")
    answer = done("explain", net, *options, "--out", tmp_path / "maps")
    assert answer.json["skipped"] == 1
    assert answer.json["methods"][0]["maps"] == 6
    assert "skipped 1/broken.jpg: " in answer.err


def test_a_picture_that_breaks_late_keeps_the_maps_made_before_it(net, tmp_path):
    write_folder(tmp_path / "val", 40, labelled=False)
    (tmp_path / "val" / "zzz.png").write_text("no picture")
    options = ("--images", tmp_path / "val", "--method", "center", "--out", tmp_path / "maps", "--quiet")
    assert run("explain", net, *options).code == 1
    kept = len(read(tmp_path / "maps"))
    assert kept > 0
    again = done("explain", net, *options, "--resume", "--on-error", "skip", "--json").json
    assert again["methods"][0]["maps"] == 40 - kept


def test_the_table_and_quiet(net, npz, tmp_path):
    answer = done("explain", net, "--images", npz, *RISE, "--out", tmp_path / "maps", "--quiet")
    assert answer.err == ""
    for said in ("method", "maps", "passes", "seconds", "rise", "480"):
        assert said in answer.out
    spoken = done("explain", net, "--images", npz, *RISE, "--out", tmp_path / "maps", "--force")
    assert "engine: openvino fp32" in spoken.err


@pytest.fixture(scope="module")
def torch_net(made):
    pytest.importorskip("torch")
    (made / "tiny_torch_net.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            def net():
                return nn.Sequential(
                    nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
                )
            """
        )
    )
    return "tiny_torch_net:net"


def test_gradients_need_torch_and_are_autograds(explain, torch_net, made, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("captum")
    monkeypatch.chdir(made)
    out, _ = explain("--method", "gradient", "--size", "16", "--limit", "3", "--target", "1", model=torch_net)
    from c2i_fast.models import load_classifier
    from c2i_fast.types import Preprocessing

    module = load_classifier(torch_net, preprocessing=Preprocessing(size=(16, 16))).module
    x = torch.from_numpy(pixels()[:3]).requires_grad_(True)
    module(x)[:, 1].sum().backward()
    np.testing.assert_allclose(list(read(out / "gradient").values()), x.grad.abs().sum(1).numpy(), atol=1e-6)


def test_the_layer_of_gradcam_matters(explain, torch_net, made, monkeypatch):
    pytest.importorskip("pytorch_grad_cam")
    monkeypatch.chdir(made)
    options = ("--method", "gradcam", "--size", "16", "--limit", "4", "--target", "0")
    last, first = (read(explain(*options, *more, model=torch_net)[0]) for more in ((), ("--layer", "0")))
    assert any(np.abs(last[key] - first[key]).max() > 1e-3 for key in last)
    named = read(explain(*options, "--layer", "2", model=torch_net)[0])
    for key in last:
        np.testing.assert_allclose(named[key], last[key], atol=1e-6)


def test_max_sensitivity_is_of_every_method_and_moves_no_map(explain, net, npz, tmp_path):
    from c2i_fast.attribution import METHODS, Context
    from c2i_fast.attribution.sensitivity import max_sensitivity
    from c2i_fast.types import Preprocessing

    options = ("--images", npz, "--method", "sobel", "--method", "center", "--limit", "4", "--seed", "3")
    answer = done("explain", net, *options, "--sensitivity", "3", "--json", "--out", tmp_path / "with")
    found = {row["name"]: row["max_sensitivity"] for row in answer.json["methods"]}
    with np.load(npz) as content:
        images = (content["images"][:4].astype(np.float32) / 255).transpose(0, 3, 1, 2)
    preprocessing = Preprocessing()
    sobel = METHODS["sobel"](Context())
    ids, targets = [str(i) for i in range(4)], np.zeros(4, int)
    expected = max_sensitivity(sobel, ids, images, targets, preprocessing, runs=3, seed=3).mean()
    assert found == {"sobel": pytest.approx(expected, rel=1e-5), "center": 0.0}
    without = done("explain", net, *options, "--json", "--out", tmp_path / "without")
    assert all("max_sensitivity" not in row for row in without.json["methods"])
    for path in (tmp_path / "without" / "sobel").glob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "with" / "sobel" / path.name))
    table = done("explain", net, *options, "--sensitivity", "3", "--out", tmp_path / "table").out
    assert "max-sensitivity" in table
    refused = run("explain", net, *options, "--sensitivity", "3", "--resume", "--out", tmp_path / "table")
    assert refused.code == 2
    assert "leave one out" in refused.err


MASKED = ("occlusion", "superpixel-occlusion", "rise-c2i", "cam", "scorecam", "relax")


def test_every_method_by_masks_writes_finite_maps_and_relax_its_uncertainty(explain):
    pytest.importorskip("skimage")
    methods = [word for name in MASKED for word in ("--method", name)]
    out, content = explain(*methods, "--masks", "30", "--set", "window=4", "--set", "relax.p=0.4", "--limit", "2")
    maps = read(out)
    assert set(maps) == {f"{name}/{i}" for name in (*MASKED, "relax-uncertainty") for i in range(2)}
    assert all(m.shape == (16, 16) and m.dtype == np.float32 and np.isfinite(m).all() for m in maps.values())
    rows = {row["name"]: row["passes"] for row in content["methods"]}
    assert rows["occlusion"] == 2 * (7 * 7 + 1)
    assert rows["rise-c2i"] == 2 * 30
    assert rows["cam"] == 2
    assert rows["scorecam"] <= 2 * (8 + 2)
    assert rows["relax"] == 2 * 31
    stored = {entry["name"]: entry for entry in json.loads((out / "explain.json").read_text())["methods"]}
    assert stored["relax"]["further"] == ["relax-uncertainty"]
    assert stored["relax"]["options"]["p"] == 0.4
    assert stored["rise-c2i"]["options"]["p"] == 0.6
    assert stored["occlusion"]["options"]["window"] == 4


def test_what_is_made_besides_is_replaced_and_never_scored(explain, net, npz, tmp_path):
    out, _ = explain("--method", "relax", "--masks", "20", "--limit", "2")
    explain("--method", "sobel", "--limit", "2", "--force", out=out)
    assert sorted(path.name for path in out.iterdir()) == ["explain.json", "sobel"]
    out, _ = explain("--method", "relax", "--masks", "20", "--limit", "2")
    scores = done(
        *("score", net, "--images", npz, "--limit", "2", "--maps", out, "--metric", "deletion"),
        *("--out", tmp_path / "run", "--json"),
    ).json
    assert {row["method"] for row in scores["scores"]} == {"relax"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "masks"), "--set must look like OPTION=VALUE"),
        (("--set", "masks=3", "--masks", "3"), "masks is given twice"),
        (("--set", "window=3"), "none of rise has an option 'window'; known: grid, masks, p"),
        (("--set", "relax.masks=3"), "none of rise has an option 'relax.masks'"),
        (("--set", "masks=many"), "rise: masks must be a whole number"),
    ],
)
def test_settings_that_say_nothing_are_refused(options, message, net, npz, tmp_path):
    answer = run("explain", net, "--images", npz, "--out", tmp_path / "maps", "--method", "rise", *options)
    assert answer.code in (1, 2)
    assert message in answer.err
    assert not (tmp_path / "maps").exists()


def test_a_layer_that_is_not_there_brings_the_nearest(net, npz, tmp_path):
    arguments = ("--images", npz, "--out", tmp_path / "maps", "--method", "scorecam", "--layer", "reluu")
    answer = run("explain", net, *arguments)
    assert answer.code == 1
    assert "has no layer 'reluu' of use here; near it:" in answer.err
    assert not (tmp_path / "maps").exists()


def test_the_readout_and_the_calibrator_are_those_of_the_definition(explain, cal, npz, net, fused):
    """On logits a temperature divides the whole map; a fused file carries the calibrator that a bare one is given."""
    temperature = json.loads(cal.read_text())["parameters"]["temperature"]
    given = ("--calibrator", cal)
    maps = {
        name: explain(*RISE, "--readout", name, *(given if name.startswith("calibrated") else ()))[0]
        for name in ("raw", "calibrated", "logit", "calibrated-logit")
    }
    for key, values in read(maps["calibrated-logit"]).items():
        np.testing.assert_allclose(values * temperature, read(maps["logit"])[key], rtol=1e-4, atol=1e-5)
    apart = zip(read(maps["raw"]).values(), read(maps["calibrated"]).values(), strict=True)
    assert all(np.abs(a / b - (a / b).mean()).max() > 1e-4 for a, b in apart)
    own = read(explain(*RISE, "--readout", "calibrated", model=fused)[0])
    for key, values in read(maps["calibrated"]).items():
        np.testing.assert_allclose(own[key], values, atol=1e-5)
    stored = json.loads((maps["calibrated"] / "explain.json").read_text())
    assert stored["methods"][0]["readout"] == "calibrated"
    assert len(stored["settings"]["calibrator"]) == 16
    assert json.loads((maps["raw"] / "explain.json").read_text())["settings"]["calibrator"] is None


def test_what_is_followed_is_recorded_and_kept_on_resume(explain, net, npz):
    out, _ = explain(*RISE, "--method", "center")
    stored = json.loads((out / "explain.json").read_text())
    assert [(m["name"], m["readout"]) for m in stored["methods"]] == [("rise", "raw"), ("center", None)]
    more = ("--images", npz, "--out", out, "--resume", "--readout", "logit")
    answer = run("explain", net, *RISE, "--method", "center", *more)
    assert answer.code == 1
    assert "begun with other methods or options of theirs" in answer.err


def test_recalx_is_refused_on_another_baseline(explain, net, npz, made):
    stored = {"levels": 1, "inverse_temperatures": [0.5], "at_bound": [None], "samples": [9], "baseline": "black"}
    content = {"c2i_fast": {"calibrator": 1}, "method": "recalx", "classes": 3, "meta": {}}
    path = made / "recalx-black.json"
    path.write_text(json.dumps({**content, "parameters": {**stored, "mask_law": None}}))
    options = (*RISE, "--readout", "calibrated", "--calibrator", path)
    answer = run("explain", net, "--images", npz, *options, "--out", made / "refused")
    assert answer.code == 1
    assert "fitted for the baseline black" in answer.err
    assert explain(*options, "--recalx-mismatch", "ok")[1]["methods"][0]["maps"] == 12


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--method rise --readout calibrated", 1, "calibrated needs a calibrator: give --calibrator FILE"),
        ("--method rise --readout probability", 1, "no read-out 'probability' to explain"),
        ("--method center --readout raw", 2, "--readout says nothing about center"),
        ("--method rise --readout logit --calibrator CAL", 2, "--calibrator is for --readout calibrated"),
    ],
)
def test_a_readout_that_cannot_be_is_refused(net, npz, cal, tmp_path, options, code, said):
    words = [str(cal) if word == "CAL" else word for word in options.split()]
    answer = run("explain", net, "--images", npz, *words, "--out", tmp_path / "maps")
    assert answer.code == code
    assert said in " ".join(answer.err.split())
    assert not (tmp_path / "maps").exists()


GRADIENTS = ("gradient", "input-x-gradient", "integrated-gradients", "smoothgrad", "lrp")
CAMS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam")


def named(*methods: str) -> list[str]:
    return [word for method in methods for word in ("--method", method)]


def test_every_torch_method_makes_finite_maps_and_ig_tells_its_completeness(explain, torch_net, made, monkeypatch):
    pytest.importorskip("captum")
    monkeypatch.chdir(made)
    options = ("--size", "16", "--limit", "3", "--target", "1", "--steps", "20", "--samples", "4")
    methods = (*GRADIENTS, *CAMS, "randomised", "canny", "superpixel-random")
    out, content = explain(*named(*methods), *options, model=torch_net)
    maps = read(out)
    assert len(maps) == 3 * len(methods)
    assert all(m.shape == (16, 16) and np.isfinite(m).all() for m in maps.values())
    rows = {row["name"]: row for row in content["methods"]}
    assert set(rows["integrated-gradients"]["completeness_gap"]) == {"mean", "largest", "image", "relative"}
    assert rows["integrated-gradients"]["completeness_gap"]["relative"] < 0.1
    assert rows["integrated-gradients"]["passes"] == 3 * 22
    stored = json.loads((out / "explain.json").read_text())["methods"]
    assert {m["name"]: m["readout"] for m in stored} == {
        name: None if name in ("canny", "superpixel-random") else "logit" for name in methods
    }
    assert content["not_finite"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("integrated-gradients", ("--baseline", "white")),
        ("integrated-gradients", ("--steps", "2")),
        ("integrated-gradients", ("--rule", "riemann_left", "--steps", "2")),
        ("smoothgrad", ("--samples", "3")),
        ("smoothgrad", ("--noise", "0.5")),
        ("smoothgrad", ("--seed", "4")),
        ("lrp", ("--epsilon", "1")),
        ("gradient", ("--channels", "sum")),
        ("gradient", ("--readout", "raw")),
        ("gradcam", ("--readout", "raw", "--layer", "0")),
    ],
)
def test_what_must_matter_to_torch_methods(explain, torch_net, made, monkeypatch, method, change):
    pytest.importorskip("captum")
    monkeypatch.chdir(made)
    options = ("--method", method, "--size", "16", "--limit", "2", "--target", "0")
    first, second = (read(explain(*options, *more, model=torch_net)[0]) for more in ((), change))
    assert any(np.abs(first[key] - second[key]).max() > 1e-6 + 1e-3 * np.abs(first[key]).max() for key in first)


def test_a_calibrated_probability_is_followed_in_torch(explain, torch_net, cal, made, monkeypatch):
    pytest.importorskip("captum")
    monkeypatch.chdir(made)
    options = ("--method", "gradient", "--size", "16", "--limit", "3", "--target", "1")
    given = ("--readout", "calibrated", "--calibrator", cal)
    found = list(read(explain(*options, *given, model=torch_net)[0]).values())
    import torch

    from c2i_fast.models import load_classifier
    from c2i_fast.types import Preprocessing

    module = load_classifier(torch_net, preprocessing=Preprocessing(size=(16, 16))).module
    x = torch.from_numpy(pixels()[:3]).requires_grad_(True)
    (module(x) / json.loads(cal.read_text())["parameters"]["temperature"]).softmax(1)[:, 1].sum().backward()
    np.testing.assert_allclose(found, x.grad.abs().sum(1).numpy(), atol=1e-6)


def test_a_map_with_nan_is_named_and_never_written(torch_net, net, npz, made, monkeypatch, tmp_path):
    pytest.importorskip("captum")
    from c2i_fast.attribution.gradient import Gradient

    monkeypatch.chdir(made)
    plain = Gradient._attributions

    def broken(self, ids, images, x, targets):
        values = plain(self, ids, images, x, targets).clone()
        values[[i for i, name in enumerate(ids) if name in ("1", "4")]] = np.nan
        return values

    monkeypatch.setattr(Gradient, "_attributions", broken)
    options = ("explain", torch_net, "--size", "16", "--images", npz, "--method", "gradient", "--limit", "6")
    answer = run(*options, "--out", tmp_path / "stopped")
    assert answer.code == 1
    assert "the map of 1 is not finite (gradient)" in answer.err
    answer = done(*options, "--out", tmp_path / "maps", "--on-error", "skip", "--json")
    assert answer.json["not_finite"] == [{"id": "1", "method": "gradient"}, {"id": "4", "method": "gradient"}]
    assert answer.json["methods"][0]["maps"] == 4
    assert "skipped the gradient map of 4: it is not finite" in answer.err
    assert set(read(tmp_path / "maps")) == {f"gradient/{i}" for i in (0, 2, 3, 5)}


def test_a_layer_without_a_grid_and_an_unknown_one_are_refused(torch_net, npz, made, monkeypatch, tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    monkeypatch.chdir(made)
    for name, said in [("5", "layer '5' returns (4,) an image, expected a grid"), ("22", "no layer '22' runs")]:
        options = ("--method", "layercam", "--layer", name, "--size", "16", "--images", npz)
        answer = run("explain", torch_net, *options, "--out", tmp_path / "maps")
        assert answer.code == 1
        assert f"layercam: {said}" in " ".join(answer.err.split())


@pytest.mark.parametrize("method", ["cam", "relax", "opticam", "meaningful-perturbation"])
def test_a_readout_for_a_method_with_its_own_target_is_refused(method):
    from c2i_fast.attribution.base import Context
    from c2i_fast.attribution.run import build_methods
    from c2i_fast.errors import InputError

    with pytest.raises(InputError, match=f"--readout says nothing about {method}"):
        build_methods([method], Context(follow="raw"), {})


def test_recalx_by_levels_is_refused_where_masks_do_not_say_what_they_hide():
    from c2i_fast.attribution.base import Context
    from c2i_fast.attribution.run import build_methods
    from c2i_fast.calibration.recalx import ReCalX
    from c2i_fast.errors import InputError

    stored = {"levels": 2, "inverse_temperatures": [1.0, 0.5], "at_bound": [None] * 2, "samples": [9] * 2}
    calibrator = ReCalX.from_parameters({**stored, "baseline": "mean", "mask_law": None})
    for method in ("occlusion", "superpixel-occlusion", "rise-c2i", "scorecam"):
        with pytest.raises(InputError, match=f"{method} does not say how much each mask hides"):
            build_methods([method], Context(follow="calibrated", calibrator=calibrator), {})
