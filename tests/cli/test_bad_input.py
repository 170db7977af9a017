"""Bad input gets one clear line, the right exit code, no engine and no output; and pickles stay closed.

Each case is a command line, what must be said, and the exit code: 1 for bad input, 2 for wrong usage.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.cli.things import ROOT, colour_net, done, pictures, rows, run, write_folder, write_maps

IDS = [str(number) for number in range(12)]


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def bad(made, net, folder, npz, cal) -> Path:
    """A folder with everything that can be wrong with a file."""
    place = made / "bad"
    place.mkdir()
    _bad_pictures(place)
    _bad_arrays(place)
    _bad_graphs(place, net)
    _bad_maps(place)
    content = json.loads(cal.read_text())
    for name, change in {
        "four": {"classes": 4},
        "magic": {"method": "magic"},
        "negative": {"parameters": {**content["parameters"], "temperature": -1.0}},
    }.items():
        (place / f"{name}.json").write_text(json.dumps(content | change))
    (place / "empty.json").write_text("{}")
    (place / "text.json").write_text("hello")
    (place / "file").write_text("a file")
    (place / "full").mkdir()
    (place / "full" / "mine.txt").write_text("mine")
    (place / "recipe.toml").write_text("size = 'large'")
    return place


def _bad_pictures(place: Path) -> None:
    jpeg = place / "noise.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(jpeg)
    broken = {"text": b"hello", "truncated": jpeg.read_bytes()[:800], "nothing": b""}
    for name, content in broken.items():
        write_folder(place / name, 3)
        (place / name / "1" / "broken.jpg").write_bytes(content)
    for name in ("rubble/0/a.jpg", "rubble/1/b.jpg"):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text("no picture")
    for name in ("void", "hollow/0", "hollow/1"):
        (place / name).mkdir(parents=True)
    (place / "tables").mkdir()
    shutil.copy(place / "text" / "0" / "000.png", place / "tables" / "a.png")
    for name, content in {
        "columns": "path,class\na.png,0\n",
        "missing": "file,label\nb.png,0\n",
        "wolf": "file,label\na.png,wolf\n",
        "several": "file,label\na.png,0;2\n",
        "seven": "file,label\na.png,7\n",
        "rowless": "file,label\n",
        "escape": "file,label\n../text/0/000.png,0\n",
    }.items():
        (place / "tables" / f"{name}.csv").write_text(content)


def _bad_arrays(place: Path) -> None:
    images, labels = pictures(12)
    high, negative = labels.copy(), labels.copy()
    high[3], negative[3] = 7, -1
    np.savez(place / "unlabelled.npz", images=images)
    np.savez(place / "high.npz", images=images, labels=high)
    np.savez(place / "below.npz", images=images, labels=negative)
    np.savez(place / "short.npz", images=images, labels=labels[:5])
    np.savez(place / "objects.npz", images=np.array([Bomb(place / "exploded")] * 2), labels=labels[:2])
    np.savez(place / "other.npz", pictures=images, labels=labels)
    np.savez(place / "double.npz", images=images / 255.0, labels=labels)
    np.savez(place / "none.npz", images=images[:0], labels=labels[:0])
    np.savez(place / "large.npz", images=np.zeros((2, 3, 20, 20), np.float32), labels=labels[:2])
    (place / "text.npz").write_bytes(b"hello")
    whole = (place / "unlabelled.npz").read_bytes()
    (place / "cut.npz").write_bytes(whole[: len(whole) // 2])
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(30, 3)), np.arange(30) % 3
    np.savez(place / "logits.npz", logits=logits, labels=classes)
    np.savez(place / "nan-logits.npz", logits=logits * np.nan, labels=classes)
    np.savez(place / "four-labels.npz", logits=logits, labels=np.arange(30) % 4)
    np.savez(place / "object-logits.npz", logits=np.array([Bomb(place / "exploded")] * 3), labels=classes[:3])


def _bad_graphs(place: Path, net: Path) -> None:
    for name, graph in {
        "two-inputs": colour_net(extra_input=True),
        "two-outputs": colour_net(extra_output=True),
        "softmax": colour_net(softmax=True),
        "open-size": colour_net(space=("H", "W")),
        "five-channels": colour_net(channels=5),
        "signal": colour_net(space=(16,)),
        "nan": colour_net(scale=float("nan")),
    }.items():
        onnx.save(graph, place / f"{name}.onnx")
    content = net.read_bytes()
    (place / "cut.onnx").write_bytes(content[: len(content) // 2])
    (place / "text.onnx").write_bytes(b"hello")
    (place / "empty.onnx").write_bytes(b"")
    (place / "pickle.onnx").write_bytes(pickle.dumps(Bomb(place / "exploded")))
    (place / "pickle.pt2").write_bytes(pickle.dumps(Bomb(place / "exploded")))


def _bad_maps(place: Path) -> None:
    maps = np.random.default_rng(0).random((12, 16, 16), np.float32)
    holed = maps.copy()
    holed[7, 2, 2] = np.nan
    kinds = {
        "holed": holed,
        "coloured": maps[:, None].repeat(2, 1),
        "complex": maps + 1j,
        "flat": maps.reshape(12, -1),
        "bombs": np.array([Bomb(place / "exploded")] * 12),
        "unnamed": maps,
    }
    for name, values in kinds.items():
        np.savez(place / f"maps-{name}.npz", maps=values, **({} if name == "unnamed" else {"ids": np.array(IDS)}))
    write_maps(place / "maps-strange.npz", [f"x{i}" for i in IDS])
    write_maps(place / "maps-some.npz", IDS[:5])
    np.savez(place / "maps-short.npz", maps=maps, ids=np.array(IDS[:5]))
    np.savez(place / "maps-twice.npz", maps=maps, ids=np.array(["0"] * 12))
    for name, last in {"maps-bomb": Bomb(place / "exploded"), "maps-text": "hello"}.items():
        (place / name).mkdir()
        for number, image in enumerate(IDS[:-1]):
            np.save(place / name / f"{image}.npy", maps[number])
        np.save(place / name / "11.npy", np.array([last]), allow_pickle=True)
    (place / "maps-broken").mkdir()
    (place / "maps-broken" / "explain.json").write_text('{"methods": 3}')


@pytest.fixture
def refused(made, net, fused, npz, folder, maps, cal, kept, bad, tmp_path, monkeypatch):
    """Runs a command line and asserts that it is refused in a line that says what is expected."""
    places = {"net": net, "fused": fused, "val": npz, "folder": folder, "maps": maps, "cal": cal, "kept": kept}
    places |= {"bad": bad, "out": tmp_path / "out", "tmp": tmp_path}

    def check(line: str, says: str, code: int = 1, *, lines: int = 1, opens: bool = False) -> str:
        if not opens:
            monkeypatch.setattr("c2i_fast.export.open.GraphOpener.__call__", _no_engine)
        arguments = [part.format(**places) for part in shlex.split(line)]
        before = sorted(made.rglob("*"))
        answer = run(*arguments)
        assert answer.code == code, f"exit {answer.code}: {answer.err}"
        assert answer.out == ""
        said = answer.err.splitlines()
        assert len(said) <= lines, answer.err
        assert said[-1].startswith("c2i-fast: ")
        assert len(said[-1]) < 330, "a line, not a page"
        assert re.search(says, said[-1]), said[-1]
        assert not list(tmp_path.glob("*out*")), "something was left behind"
        assert sorted(made.rglob("*")) == before
        assert not (bad / "exploded").exists(), "a pickle was loaded"
        return said[-1]

    return check


def _no_engine(*arguments: object) -> None:
    raise AssertionError("an engine was opened before the inputs were checked")


COMMANDS = {
    "calibrate": "calibrate {model} --images {images} --out {{out}}.json --quiet",
    "export": "export {model} --out {{out}}.onnx --quiet",
    "explain": "explain {model} --images {images} --method center --method rise --masks 20 --out {{out}} --quiet",
    "score": "score {model} --images {images} --controls --out {{out}} --quiet",
    "bench": "bench {model} --duration 0.02 --quiet",
}
READERS = ("calibrate", "explain", "score")  # of images


# -------------------------------------------------------------------------------- images


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (
            "{bad}/absent",
            "absent: expected a folder of pictures.* does not exist; mend the path given to --images",
        ),
        ("{bad}/file", "file: expected a folder of pictures.* is a file of kind 'no suffix'"),
        ("{bad}/void", r"void: expected pictures \(.*\.png.*found none; name another folder"),
        ("{bad}/hollow", r"hollow: expected pictures .*found none"),
        ("{bad}/below.npz", r"labels must lie in 0\.\.2, but 3 has -1 .*mend the labels"),
        ("{bad}/high.npz", r"labels must lie in 0\.\.2, but 3 has 7 .*mend the labels"),
        ("{bad}/short.npz", r"expected integers of shape \(12,\).*got int64 \(5,\)"),
        ("{bad}/objects.npz", "expected numbers, but it holds Python objects, which are never unpickled"),
        ("{bad}/other.npz", "expected the array 'images', but it holds labels, pictures"),
        ("{bad}/double.npz", r"expected uint8 .* or float32 .*got float64 \(12, 16, 16, 3\)"),
        ("{bad}/none.npz", r"expected one record per image, but it has no records"),
        ("{bad}/large.npz", r"float images are taken as they are, but the model takes .*\(16, 16\) and these are"),
        ("{bad}/text.npz", "text.npz: expected an .npz, but .*; save it with numpy.savez"),
        ("{bad}/cut.npz", "cut.npz: expected an .npz, but .*; save it with numpy.savez"),
        ("{bad}/tables/columns.csv", "expected the columns file,label in the first line, but found path, class"),
        ("{bad}/tables/missing.csv", r"expected every file beside it .* 1 of 1 are not there: b\.png"),
        ("{bad}/tables/wolf.csv", "line 2: expected class indices .* but found 'wolf'"),
        ("{bad}/tables/seven.csv", r"labels must lie in 0\.\.2, but a\.png has 7"),
        ("{bad}/tables/rowless.csv", "expected one row per picture below the first line, but there is none"),
        ("{bad}/tables/escape.csv", r"leads out of the folder with '\.\.'"),
    ],
)
def test_a_source_that_cannot_be_used(refused, command, images, says):
    refused(COMMANDS[command].format(model="{net}", images=images), says)


@pytest.mark.parametrize("command", READERS)
def test_an_empty_path_is_not_the_current_folder(refused, command):
    refused(COMMANDS[command].format(model="{net}", images="''"), "--images is empty", code=2)


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("text", r"broken\.jpg: expected a picture, but its content is no picture format we read"),
        ("truncated", r"broken\.jpg: expected a picture, but it cannot be decoded \(.*truncated"),
        ("nothing", r"broken\.jpg: expected a picture, but the file is empty \(0 bytes\)"),
    ],
)
def test_a_broken_picture_stops_with_its_name_and_leaves_nothing(refused, command, images, says):
    line = COMMANDS[command].format(model="{net}", images=f"{{bad}}/{images}")
    refused(line, says + ".*leave such files out with --on-error skip", opens=True)


@pytest.mark.parametrize("command", READERS)
def test_a_source_of_which_nothing_can_be_read_is_an_error_even_when_skipping(refused, command, bad):
    line = COMMANDS[command].format(model="{net}", images="{bad}/rubble") + " --on-error skip"
    refused(line, r"none of the 2 images could be read: .*a\.jpg: expected a picture", opens=True)


@pytest.mark.parametrize("side", [1, 10_000])
def test_pictures_of_any_size_are_scored_and_explained(net, tmp_path, side):
    (tmp_path / "images").mkdir()
    Image.new("L", (side, side), 99).save(tmp_path / "images" / "a.png")
    done("explain", net, "--images", tmp_path / "images", "--method", "center", "--out", tmp_path / "maps", "--quiet")
    options = ("--images", tmp_path / "images", "--maps", tmp_path / "maps", "--quiet")
    done("score", net, *options, "--out", tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 3


def test_a_picture_of_too_many_pixels_is_named(refused, bad, net):
    place = bad.parent / "huge"
    place.mkdir()
    header = Image.new("1", (20_000, 20_000))
    header.save(place / "a.png")
    try:
        line = f"score {{net}} --images {place} --controls --out {{out}} --quiet"
        refused(line, r"a\.png: expected a picture, but it has more than \d+ pixels", opens=True)
    finally:
        shutil.rmtree(place)


def test_calibrating_needs_one_label_an_image(refused):
    line = COMMANDS["calibrate"].format(model="{net}", images="{bad}/tables/several.csv")
    refused(line, r"calibration needs one label an image; a\.png has 2")


def test_calibrating_needs_labels(refused):
    refused(COMMANDS["calibrate"].format(model="{net}", images="{bad}/unlabelled.npz"), "calibration needs labels: ")


# -------------------------------------------------------------------------------- models


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("model", "says", "code"),
    [
        ("{bad}/absent.onnx", "there is no file .*absent.onnx", 1),
        ("{bad}/absent.pt2", "there is no file .*absent.pt2", 1),
        ("{bad}/two-inputs.onnx", "one image input, this graph has 2: image, mask; export it with the image alone", 1),
        ("{bad}/two-outputs.onnx", "2 outputs: scores, flat; say which holds the logits by --output", 1),
        (
            "{bad}/softmax.onnx",
            "probabilities where logits were expected.*--outputs probabilities or .*--output sc",
            1,
        ),
        ("{bad}/open-size.onnx", r"leaves the image size open \?×\?; say it, e\.g\. --size 224", 1),
        ("{bad}/nan.onnx", "NaN or infinity for ordinary images; check its weights", 1),
        ("{bad}/cut.onnx", "cut.onnx is not an ONNX file", 1),
        ("{bad}/text.onnx", "text.onnx is not an ONNX file", 1),
        ("{bad}/empty.onnx", "empty.onnx is not an ONNX file", 1),
        ("{bad}/pickle.onnx", "pickle.onnx is not an ONNX file", 1),
        ("{bad}", "is no model; expected torchvision:NAME, timm:NAME, PATH.onnx", 1),
        ("''", "'' is no model; expected torchvision:NAME", 1),
        ("nothing.at.all:net", "could not be called: ModuleNotFoundError", 1),
        ("json:nothing", "could not be called: AttributeError", 1),
        ("{net} --size 8", "the graph takes images of 16×16, but --size says 8×8", 1),
        ("{net} --size 8,x", r"--size must look like 224 or 224,200 \(height, width\), got '8,x'", 2),
        ("{net} --size 0", "--size must be one positive integer or 2 of them", 2),
        ("{net} --size 16 --crop 2", r"crop must lie in \(0, 1\], got 2\.0", 2),
        ("{net} --mean 0.1,0.2", "--mean and --std have 2 values, but the network takes 3 channels", 1),
        ("{net} --std 0", r"std must be positive, got \(0\.0,\)", 2),
        ("{net} --mean nan", "mean must be finite", 2),
        ("{net} --drop-class 2", "at least 2 classes are needed, got 3 less 2 dropped", 1),
        ("{net} --outputs odds", "outputs must be logits or probabilities, got 'odds'", 2),
        ("{net} --output nothing", "computes no value 'nothing'; its outputs are: scores", 1),
        ("{net} --recipe nothing", "no such file, and no such recipe; shipped: caffe-bgr", 1),
        ("{net} --recipe {bad}/recipe.toml", "size must be an integer or a list of integers, got 'large'", 1),
        ("{net} --recipe {bad}/file", "expected a recipe in TOML", 1),
        ("{net} --weights w.pt", "--weights says nothing about .*net.onnx; leave it out", 2),
        ("{net} --random-weights", "--random-weights says nothing about .*net.onnx", 2),
        ("{net} --download", "--download says nothing about .*net.onnx", 2),
        (
            "{fused} --mean 0.5",
            "a fused file, which carries its own preprocessing and output; leave the flags out",
            2,
        ),
        (
            "torchvision:resnet18",
            "needs weights, and names never download .*exactly one of --weights FILE, --down",
            1,
        ),
        ("timm:resnet18", "needs weights, and names never download", 1),
        ("torchvision:resnet18 --random-weights --download", "exactly one of --weights FILE", 1),
    ],
)
def test_a_model_that_cannot_be_used(refused, command, model, says, code):
    refused(COMMANDS[command].format(model=model, images="{val}"), says, code)


@pytest.mark.parametrize("command", ["export", "explain", "score", "bench"])
def test_a_missing_model_is_wrong_usage(refused, command):
    refused(COMMANDS[command].format(model="", images="{val}"), "MODEL is missing: a .onnx or .pt2 file", code=2)


def test_pictures_cannot_feed_a_signal_net_nor_one_of_five_channels(refused):
    for model, says in (("signal", r"pictures need a size H,W, got \(16,\)"), ("five-channels", "the model takes 5")):
        refused(COMMANDS["score"].format(model=f"{{bad}}/{model}.onnx", images="{folder}"), says)


def test_a_program_that_is_a_pickle_is_not_run(refused):
    pytest.importorskip("torch")
    refused(COMMANDS["score"].format(model="{bad}/pickle.pt2", images="{val}"), r"pickle\.pt2")


def test_a_named_model_without_weights_answers_within_five_seconds_and_imports_no_torch():
    code = (
        "import sys\n"
        "from c2i_fast.cli.app import main\n"
        "try:\n"
        "    main(['export', 'torchvision:resnet18', '--out', 'absent/model.onnx'])\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules\n"
    )
    clock = time.perf_counter()
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1, answer.stderr
    assert "give exactly one of --weights FILE, --download or --random-weights" in answer.stderr
    assert time.perf_counter() - clock < 5
    assert not (ROOT / "absent").exists()


def test_an_onnx_file_with_flipped_bytes_never_shows_a_traceback(net, tmp_path):
    whole, rng = bytearray(net.read_bytes()), np.random.default_rng(1)
    codes = set()
    for number in range(40):
        broken = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 1500), 3):
            broken[place] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(broken)
        answer = run("export", path, "--out", tmp_path / f"fused-{number}.onnx", "--quiet")
        codes.add(answer.code)
        assert answer.code in (0, 1)
        assert (tmp_path / f"fused-{number}.onnx").exists() == (answer.code == 0)
        assert answer.code == 0 or len(answer.err.splitlines()) == 1
    assert 1 in codes, "the damage was noticed at least once"


# -------------------------------------------------------------------------------- maps

SCORE = "score {fused} --images {val} --out {out} --quiet "


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "{bad}/maps-holed.npz",
            "map 'maps-holed' of image 7: expected finite numbers, but 1 of 256 are NaN or inf",
        ),
        ("{bad}/maps-coloured.npz", r"expected one map, got \(2, 16, 16\); sum or average its channels to one"),
        ("{bad}/maps-complex.npz", "expected real numbers, got complex64; save it as float32"),
        ("{bad}/maps-flat.npz", r"expected 2 axes with at least one element, got shape \(256,\)"),
        ("{bad}/maps-bombs.npz", "Python objects, which are never unpickled"),
        ("{bad}/maps-bomb", r"11\.npy: expected numbers, but it holds Python objects, which are never unpickled"),
        ("{bad}/maps-text", "map 'maps-text' of image 11: expected real numbers, got <U5"),
        ("{bad}/maps-unnamed.npz", "expected the array 'ids', but it holds maps"),
        ("{bad}/maps-strange.npz", "no map 'maps-strange' belongs to any of the 12 images: images are called like '0'"),
        ("{bad}/maps-some.npz", "7 of 12 images have no map 'maps-some': 5, 6, 7, 8, 9, .*explain them too, or leave"),
        ("{bad}/maps-short.npz", r"expected text or integers of shape \(12,\), one each, got <U1 \(5,\)"),
        ("{bad}/maps-twice.npz", "'0' occurs twice; rename it"),
        ("{bad}/maps-broken", "explain.json: expected methods with name and path; run explain again"),
        ("{bad}/void", "expected maps .*found none; explain writes such"),
        ("{bad}/absent", "absent: expected a folder that explain wrote.*does not exist; mend the path given to --maps"),
        ("mine={bad}/absent.npz", "expected a folder that explain wrote.*does not exist"),
        ("{bad}/file", "is a file of kind 'no suffix'"),
        ("{maps} --maps {maps}", "'noise' names two sources of maps; give it another, NAME="),
        ("{maps} --maps noise={bad}/maps-some.npz", "'noise' names two sources of maps"),
    ],
)
def test_maps_that_cannot_be_used(refused, given, says):
    refused(SCORE + f"--maps {given}", says)


def test_no_maps_at_all_or_an_empty_path_is_wrong_usage(refused):
    refused(SCORE, "nothing to score: give --maps PATH, or --controls", code=2)
    refused(SCORE + "--maps ''", "--maps is empty", code=2)


def test_maps_that_are_all_equal_are_scored_with_a_warning_in_the_row(fused, npz, tmp_path):
    np.savez(tmp_path / "equal.npz", maps=np.ones((12, 16, 16), np.float32), ids=np.array(IDS))
    options = ("--images", npz, "--maps", tmp_path / "equal.npz", "--readout", "raw", "--quiet")
    done("score", fused, *options, "--out", tmp_path / "run")
    assert {tuple(row["warnings"]) for row in rows(tmp_path / "run")} == {("constant map",)}


# -------------------------------------------------------------------------------- calibrators


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("{bad}/four.json", "fitted on 4 classes and the model has 3; fit one on this model with: c2i-fast calibrate"),
        ("{bad}/magic.json", "there is no calibrator 'magic'; known: temperature"),
        ("{bad}/negative.json", "expected temperature to be a positive finite number, got -1"),
        ("{bad}/empty.json", "expected a calibrator file with"),
        ("{bad}/text.json", "to be JSON as c2i-fast calibrate writes it"),
        ("{net}", "to be JSON as c2i-fast calibrate writes it"),
        ("{bad}/absent.json", "cannot read the calibrator .*absent.json: No such file"),
        ("{bad}/void", "cannot read the calibrator .*void: Is a directory"),
    ],
)
def test_a_calibrator_that_cannot_be_used(refused, file, says):
    refused(f"export {{net}} --calibrator {file} --out {{out}}.onnx --quiet", says)
    refused(f"score {{net}} --images {{val}} --maps {{maps}} --calibrator {file} --out {{out}} --quiet", says)
    refused(f"rescore {{kept}} --calibrator {file}", says)


@pytest.mark.parametrize(
    ("line", "says", "code"),
    [
        ("", "give MODEL with --images SRC, or --logits FILE.npz alone", 2),
        ("{net}", "give MODEL with --images SRC", 2),
        ("--images {val}", "give MODEL with --images SRC", 2),
        ("{net} --images {val} --logits {bad}/logits.npz", "give MODEL with --images SRC", 2),
        ("--logits {bad}/logits.npz --limit 5", "--logits stands alone", 2),
        ("--logits {bad}/logits.npz --engine openvino", "--logits stands alone", 2),
        ("--logits {bad}/logits.npz --size 16", "--logits stands alone", 2),
        ("--logits {bad}/absent.npz", "cannot read the logits .*absent.npz: No such file", 1),
        ("--logits {bad}/text.npz", "expected .*text.npz to be an .npz with logits", 1),
        ("--logits {val}", r"logits \(N, K\) and labels \(N,\), got images, labels", 1),
        ("--logits {bad}/nan-logits.npz", "30 of 30 rows of logits hold NaN", 1),
        ("--logits {bad}/four-labels.npz", r"expected labels in 0\.\.2, got 0\.\.3", 1),
        ("--logits {bad}/object-logits.npz", "object-logits.npz", 1),
        ("--logits {bad}/logits.npz --method magic", "there is no calibrator 'magic'", 1),
        ("{net} --images {val} --method magic", "there is no calibrator 'magic'", 1),
        ("{net} --images {val} --fit-fraction 0", "--fit-fraction must be above 0, got 0.0", 2),
        ("{net} --images {val} --fit-fraction 1.5", "--fit-fraction.*less than or equal to 1", 2),
        ("{net} --images {val} --engine magic", "there is no engine 'magic' for the device cpu; known: auto", 2),
        ("{net} --images {val} --precision fp8", "--precision must be one of fp32, bf16, fp16, int8; got 'fp8'", 2),
        ("{net} --images {val} --on-error ignore", "--on-error must be one of stop, skip; got 'ignore'", 2),
    ],
)
def test_calibrate_is_asked_for_what_cannot_be(refused, line, says, code):
    refused(f"calibrate {line} --out {{out}}.json --quiet", says, code)


def test_one_image_cannot_be_split(refused):
    refused("calibrate {net} --images {val} --limit 1 --out {out}.json --quiet", "use a fit fraction of 1", opens=True)


# -------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "says", "code"),
    [
        ("--metric delation", r"no metric 'delation' \(did you mean 'deletion'\?\); known: deletion, insertion", 1),
        ("--preset magic", "there is no preset 'magic'; known: c2i, rise", 1),
        ("--readout magic", "there is no read-out 'magic'; known: raw, calibrated, logit, sigmoid", 1),
        ("--engine magic", "there is no engine 'magic' for the device cpu; known: auto, onnxruntime, open", 2),
        (
            "--engine torch",
            "the torch engine runs torch models; for an ONNX file use --engine onnxruntime",
            1,
        ),
        ("--precision fp8", "fp8", 2),
        ("--engine onnxruntime --precision bf16", "onnxruntime has no bf16 here; openvino has", 2),
        ("--device tpu", "device 'tpu' is not supported; known: auto, cpu, cuda", 2),
        ("--on-error ignore", "--on-error must be one of stop, skip", 2),
        ("--target magic", "--target must be top1, label, given or a class index, got 'magic'", 2),
        ("--target -1", "--target must be top1, label, given or a class index, got '-1'", 2),
        ("--target 3", "--target 3 is not one of the model's classes, 0 to 2", 1),
        ("--target label --set target=1", "--target and --set target= say the same", 2),
        ("--set magic=1", "a protocol has no field 'magic' to set; known: baseline, counts, ends, intervals", 1),
        ("--set name=mine", "a protocol has no field 'name' to set", 1),
        ("--set intervals", "--set must look like FIELD=VALUE, got 'intervals'", 2),
        ("--set intervals=", "--set must look like FIELD=VALUE", 2),
        ("--set =3", "--set must look like FIELD=VALUE", 2),
        ("--set intervals=many", "intervals must be a whole number of at least 1, got 'many'", 1),
        ("--set intervals=٣", "intervals must be a whole number of at least 1, got '٣'", 1),
        (f"--set intervals={'9' * 20}", "intervals must be a whole number of at least 1", 1),
        ("--target ²", "--target must be top1, label, given or a class index", 2),
        (f"--target {'9' * 20}", "--target must be top1, label, given or a class index", 2),
        ("--set intervals=0", "intervals must be a whole number of at least 1, got '0'", 1),
        ("--set intervals=257", r"257 intervals do not fit a map of 256 elements; set intervals to 1\.\.256", 1),
        ("--set pixels_per_step=0", "pixels_per_step must be a whole number of at least 1, got '0'", 1),
        ("--set ties=none", "ties must be one of index, reverse-index, together; got 'none'", 1),
        ("--set counts=list", "counts must be one of equal, floor, linspace, .*, pixels; got 'list'", 1),
        ("--set baseline=grey", "there is no baseline 'grey'; known: mean, zero, image-mean, blur, box-blur", 1),
        ("--set x=time", "x must be one of fraction, step, index; got 'time'", 1),
        ("--set intervals=4 --set intervals=5", "--set gives intervals twice", 2),
        ("--set intervals=4 --set pixels_per_step=3", "both say how long a step is; set one of them", 1),
        ("--set counts=pixels --set intervals=4", "counts=pixels has no use for intervals", 1),
        ("--limit 0", "'--limit': Input should be greater than or equal to 1; see c2i-fast score --help", 2),
        ("--limit some", "'--limit': Input should be a valid integer", 2),
        ("--seed -1", "'--seed': Input should be greater than or equal to 0", 2),
        ("--seed 4294967296", "'--seed': Input should be less than or equal to 4294967295", 2),
        ("--batch-size 0", "'--batch-size': Input should be greater", 2),
        ("--threads 100000", "'--threads': Input should be less", 2),
        ("--magic", "No such option: --magic", 2),
        ("more", r"unexpected extra argument\(s\) \(more\)", 2),
        ("--resume --force", "--resume goes on with a run and --force replaces it; give one of them", 2),
    ],
)
def test_score_is_asked_for_what_cannot_be(refused, options, says, code):
    refused(SCORE + f"--maps {{maps}} {options}", says, code)


def test_calibrated_needs_a_calibrator(refused):
    line = "score {net} --images {val} --maps {maps} --readout calibrated --out {out} --quiet"
    refused(line, "the calibrated read-out needs a calibrator: give --calibrator FILE")


@pytest.mark.parametrize(("rule", "says"), [("label", "the images have none"), ("given", "`targets` in the .npz")])
@pytest.mark.parametrize("command", ["score", "explain"])
def test_a_target_rule_needs_what_it_follows(refused, command, rule, says):
    line = COMMANDS[command].format(model="{fused}", images="{bad}/unlabelled.npz")
    refused(f"{line} --target {rule}", f"--target {rule} needs .*{says}")


@pytest.mark.parametrize(
    ("options", "says", "code"),
    [
        ("", "Missing option '--method'; see c2i-fast explain --help", 2),
        ("--method rize", r"there is no method 'rize' \(did you mean 'rise'\?\); known: rise, ", 1),
        ("--method gradient", "gradient needs a torch model .* not an ONNX file", 1),
        ("--method gradcam", "gradcam needs a torch model", 1),
        ("--method center --masks 5", "--masks says nothing about center; leave it out", 2),
        ("--method rise --layer last", "--layer says nothing about rise; leave it out", 2),
        ("--method rise --masks 0", "'--masks': Input should be greater", 2),
        ("--method rise --keep 2", "expected 0 < p ≤ 1, got 2.0", 1),
        ("--method rise --target 3", "--target 3 is not one of the model's classes, 0 to 2", 1),
        ("--method center --target 3", "--target 3 is not one of the model's classes, 0 to 2", 1),
        ("--method rise --target magic", "--target must be top1, label, given or a class index", 2),
        ("--method rise --engine magic", "there is no engine 'magic'", 2),
        ("--method center --engine magic", "there is no engine 'magic'", 2),
        ("--method rise --precision fp8", "--precision must be one of fp32, bf16, fp16, int8", 2),
        ("--method center --on-error ignore", "--on-error must be one of stop, skip", 2),
        ("--method center --resume --force", "--resume goes on with what is there and --force replaces it", 2),
    ],
)
def test_explain_is_asked_for_what_cannot_be(refused, options, says, code):
    refused(f"explain {{fused}} --images {{val}} {options} --out {{out}} --quiet", says, code)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("demo --seed -1 --out {out}", "'--seed': Input should be greater"),
        ("bench {net} --quiet --batch 1,two", "--batch must look like 1,8,32, got '1,two'"),
        ("bench {net} --quiet --batch 0", "--batch must look like 1,8,32, got '0'"),
        ("bench {net} --quiet --engine magic", "there is no engine 'magic'"),
        ("bench {net} --quiet --precision fp8", "--precision must be one of fp32, bf16, fp16, int8"),
        ("bench {net} --quiet --duration 0", "'--duration': Input should be greater"),
        ("list", "Missing argument 'WHAT'; see c2i-fast list --help"),
        ("list magic", "WHAT must be one of metrics, presets, methods.*got 'magic'"),
        ("magic", "No such command 'magic'"),
        ("--magic", "No such option: --magic"),
        ("rescore", "Missing argument 'RUN'"),
        ("rescore {kept}", "Missing option '--calibrator'"),
        ("export {net}", "Missing option '--out'"),
        ("export {net} --out {out}.bin", "--out must end in .onnx"),
    ],
)
def test_wrong_usage_elsewhere(refused, line, says):
    refused(line, says, code=2)


# -------------------------------------------------------------------------------- outputs

WRITERS = {
    "calibrate": "calibrate --logits {{bad}}/logits.npz --out {out}{json} --quiet",
    "export": "export {{net}} --out {out}{onnx} --quiet",
    "explain": "explain {{fused}} --images {{val}} --method center --out {out} --quiet",
    "score": "score {{fused}} --images {{val}} --maps {{maps}} --out {out} --quiet",
}


def _writing(command: str, out: str) -> str:
    return WRITERS[command].format(out=out, json=".json", onnx=".onnx")


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("force", ["", " --force"])
def test_an_output_that_cannot_be_made(refused, command, force):
    refused(_writing(command, "{bad}/file/deeper/out") + force, "cannot be written: .*file is not a writable folder")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_that_takes_no_file_is_noticed_before_any_work(refused, command):
    refused(_writing(command, "/proc/self/out"), "cannot be written: /proc/self takes no file|is not a writable folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", WRITERS)
def test_a_read_only_folder(refused, tmp_path, command):
    (tmp_path / "closed").mkdir(mode=0o500)
    refused(_writing(command, "{tmp}/closed/result"), "is not a writable folder")


@pytest.mark.parametrize("command", ["explain", "score"])
def test_a_folder_of_others_is_never_replaced(refused, bad, command):
    refused(_writing(command, "{bad}/full"), "full exists; choose another name or give --force to replace it")
    refused(_writing(command, "{bad}/full") + " --force", "is not replaced; choose another --out")
    refused(_writing(command, "{bad}/file") + " --force", "is not replaced; choose another --out")
    refused(_writing(command, "{bad}/full") + " --resume", "full")
    assert (bad / "full" / "mine.txt").read_text() == "mine"
    assert (bad / "file").read_text() == "a file"


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("{bad}/full", "full exists; choose another name or give --force"),
        ("{bad}/file", "file must be a folder, but what is there is none"),
        ("{bad}/file --force", "file must be a folder, but what is there is none"),
        ("{bad}/file/deeper", "cannot be written: .*file is not a writable folder"),
    ],
)
def test_the_demo_writes_nowhere_else(refused, out, says):
    refused(f"demo --quick --quiet --out {out}", says)


@pytest.mark.parametrize("command", ["calibrate", "export"])
def test_a_file_output_replaces_a_file_with_force_only_and_never_a_folder(refused, net, bad, tmp_path, command):
    target = tmp_path / ("taken.json" if command == "calibrate" else "taken.onnx")
    target.write_text("mine")
    refused(_writing(command, "{tmp}/taken"), "taken.* exists; choose another name or give --force to replace it")
    assert target.read_text() == "mine"
    target.unlink()
    target.mkdir()
    for force in ("", " --force"):
        refused(_writing(command, "{tmp}/taken") + force, "must be a file, but what is there is none")
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("command", ["calibrate", "export"])
def test_a_device_is_never_replaced(refused, tmp_path, command):
    name = tmp_path / ("pipe.json" if command == "calibrate" else "pipe.onnx")
    os.mkfifo(name)
    refused(_writing(command, "{tmp}/pipe") + " --force", "must be a file, but what is there is none")
    assert name.is_fifo()


# -------------------------------------------------------------------------------- runs


@pytest.fixture
def broken_run(kept, tmp_path):
    """A copy of a run with one of its files changed."""

    def make(file: str, content: bytes | None) -> Path:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(kept, copy)
        if content is None:
            (copy / file).unlink()
        else:
            (copy / file).write_bytes(content)
        return copy

    return make


@pytest.mark.parametrize("run_path", ["{bad}/void", "{bad}/full", "{bad}/absent", "{bad}/file", "{folder}"])
def test_a_folder_that_is_no_run(refused, run_path):
    refused(f"rescore {run_path} --calibrator {{cal}}", r"there is no run \(run\.json\) at|not a readable run")


def _cut(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


def _dented(path: Path) -> bytes:
    """The footer is whole, the data are not."""
    content = bytearray(path.read_bytes())
    content[10:300] = b"\xff" * 290
    return bytes(content)


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("run.json", lambda path: b"{", "is not a readable run"),
        ("run.json", lambda path: b"[]", "was not written by c2i-fast score"),
        ("run.json", lambda path: b'{"settings": {}}', "no usable 'hashes'; the run is damaged"),
        ("run.json", lambda path: None, "there is no run"),
        ("scores/part-00000.parquet", _cut, r"part-00000\.parquet is not a part of a run"),
        ("scores/part-00000.parquet", lambda path: b"hello", r"part-00000\.parquet is not a part of a run"),
        ("scores/part-00000.parquet", lambda path: None, "does not follow the part before it; the run is damaged"),
        ("logits/part-00000.parquet", _cut, r"logits/part-00000\.parquet cannot be read .*the run is damaged"),
        ("logits/part-00000.parquet", _dented, r"logits/part-00000\.parquet cannot be read .*the run is damaged"),
        ("logits/curves-00000.parquet", _cut, r"curves-00000\.parquet cannot be read .*the run is damaged"),
        ("logits/part-00000.parquet", lambda path: None, "kept no logits; score again with --keep-logits"),
    ],
)
def test_rescoring_a_damaged_run(refused, broken_run, kept, file, damage, says):
    copy = broken_run(file, damage(kept / file))
    refused(f"rescore {copy} --calibrator {{cal}}", says)
    assert not list(copy.glob("scores/rescore-*")), "half a rescoring was left"


def test_a_rescoring_that_fails_late_leaves_no_half_of_itself(refused, broken_run, kept):
    last = sorted(path.name for path in (kept / "logits").glob("part-*"))[-1]
    assert last != "part-00000.parquet"
    copy = broken_run(f"logits/{last}", _cut(kept / "logits" / last))
    refused(f"rescore {copy} --calibrator {{cal}}", f"logits/{last} cannot be read")
    assert not list(copy.glob("scores/rescore-*"))


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("run.json", lambda path: b"{", "is not a readable run"),
        ("run.json", lambda path: b'{"settings": {"magic": 1}}', "another version of c2i-fast|no usable 'hashes'"),
        ("scores/part-00000.parquet", _cut, r"part-00000\.parquet is not a part of a run"),
        ("scores/part-00000.parquet", _dented, r"part-00000\.parquet cannot be read .*the run is damaged"),
        ("scores/part-00000.parquet", lambda path: None, "does not follow the part before it"),
    ],
)
def test_resuming_a_damaged_run(refused, broken_run, kept, file, damage, says):
    copy = broken_run(file, damage(kept / file))
    line = f"score {{net}} --images {{val}} --maps {{maps}} --out {copy} --resume --quiet"
    refused(line, says, opens=True)


@pytest.mark.parametrize(
    ("change", "says", "code"),
    [
        ("--preset rise", "--resume goes on with --preset 'c2i', not 'rise'; leave the option out", 2),
        ("--set intervals=8", "--resume goes on with --set .*intervals.*leave the option out", 2),
        ("--metric gap", "--resume goes on with --metric ", 2),
        ("--readout logit", "--resume goes on with --readout ", 2),
        ("--engine onnxruntime", "--resume goes on with --engine 'openvino', not 'onnxruntime'", 2),
        ("--batch-size 7", "--resume goes on with --batch-size 64, not 7", 2),
        ("--threads 7", "--resume goes on with --threads ", 2),
        ("--seed 7", "--resume goes on with --seed 0, not 7", 2),
        ("--part-passes 7", "--resume goes on with --part-passes 600, not 7", 2),
        ("--limit 7", "--resume goes on with --limit None, not 7", 2),
        ("--target label", "--resume goes on with --set ", 2),
        ("--calibrator {cal}", "begun with another calibrator", 1),
        ("--mean 0.5", "begun with another model", 1),
    ],
)
def test_resuming_with_something_else(refused, kept, change, says, code):
    line = f"score {{net}} --images {{val}} --maps {{maps}} --out {{kept}} --resume --quiet {change}"
    refused(line, says, code)


def test_resuming_with_other_inputs(refused, made, bad):
    onnx.save(colour_net(scale=41.0), bad.parent / "other.onnx")
    write_maps(bad.parent / "other-maps.npz", IDS, seed=9)
    images, labels = pictures(12, seed=9)
    np.savez(bad.parent / "other-val.npz", images=images, labels=labels)
    line = "score {model} --images {images} --maps {maps} --out {{kept}} --resume --quiet"
    same = {"model": "{net}", "images": "{val}", "maps": "{maps}"}
    for change, says in (
        ({"model": bad.parent / "other.onnx"}, "begun with another model"),
        ({"images": bad.parent / "other-val.npz"}, "begun with other images"),
        ({"maps": f"noise={bad.parent / 'other-maps.npz'}"}, "begun with other maps"),
        ({"maps": "mine={maps}"}, "begun with other maps"),
    ):
        refused(line.format(**same | change), says + "; give what it was begun with, or another --out")


def test_resuming_toward_another_target(refused, fused, npz, maps, made):
    """`top1` is the default, but on a run with another target it is another target."""
    options = ("--images", npz, "--maps", maps, "--quiet")
    done("score", fused, *options, "--target", "1", "--out", made / "toward-1")
    line = "score {fused} --images {val} --maps {maps} --quiet --resume --out " + str(made / "toward-1")
    refused(line + " --target top1", "--resume goes on with --target 1, not top1", 2)
    refused(line + " --target 2", "--resume goes on with --set .*target.*1", 2)


def test_resuming_maps_with_something_else(refused, fused, npz, made):
    out = made / "begun"
    done("explain", fused, "--images", npz, "--method", "rise", "--masks", 20, "--out", out, "--quiet")
    line = f"explain {{fused}} --images {{val}} --method rise --masks 20 --out {out} --resume --quiet"
    for change, says in (
        ("--seed 1", "begun with another choice of seed"),
        ("--keep 0.4", "begun with other methods or options of theirs"),
        ("--method center", "begun with other methods or options of theirs"),
        ("--target 1", "begun with another choice of target"),
        ("--limit 3", "begun with another choice of images"),
        ("--engine onnxruntime", "begun with another choice of engine"),
    ):
        refused(f"{line} {change}", says + "; choose another --out, or give --force")
    other = line.replace("{fused}", "{net} --mean 0.5")
    refused(other, "begun with another choice of model")
