"""`score --regions`: from a file of boxes or masks to rows, and what is refused before any pass."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import c2i_fast
from c2i_fast.data import source
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.data.regions import open_regions
from c2i_fast.metrics.base import MapCase
from c2i_fast.metrics.measures import make_measures
from c2i_fast.perturb.curve import RankedMap
from c2i_fast.results.estimate import SubsetSource
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import Preprocessing
from tests import nets
from tests.cli.things import SIDE, done, pictures, rows, run, write_maps

COUNT = 6
LOCAL = ("pointing-game", "energy-pointing", "relevance-mass", "relevance-rank", "iou", "roc-auc")
COMPLEX = ("entropy", "gini", "total-variation")


def options_of(*metrics: str) -> list[str]:
    return [part for metric in metrics for part in ("--metric", metric)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Six images; boxes of five, the third covering its image; the boxes as maps, and random ones."""
    folder = tmp_path_factory.mktemp("regions")
    np.savez(folder / "val.npz", images=pictures(COUNT)[0])
    rng = np.random.default_rng(0)
    corners = [(0, 0, SIDE, SIDE) if n == 2 else (*rng.integers(0, 8, 2), *rng.integers(9, SIDE, 2)) for n in range(5)]
    masks = np.zeros((COUNT, SIDE, SIDE), np.float32)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=False):
        mask[y0:y1, x0:x1] = 1
    lines = [f"{number},{x0},{y0},{x1},{y1}" for number, (x0, y0, x1, y1) in enumerate(corners)]
    (folder / "boxes.csv").write_text("\n".join(["file,x0,y0,x1,y1", *lines]))
    np.savez(folder / "ours.npz", maps=masks, ids=[str(n) for n in range(COUNT)])
    write_maps(folder / "noise.npz", [str(n) for n in range(COUNT)])
    return folder


@pytest.fixture
def scored(net, place, tmp_path):
    """Scores both maps with the boxes."""

    def score(*options, out=None, maps=("ours", "noise")):
        given = [part for name in maps for part in ("--maps", place / f"{name}.npz")]
        regions = [] if "--regions" in options else ["--regions", place / "boxes.csv"]
        arguments = ["--images", place / "val.npz", *given, *regions, *options, "--out", out or tmp_path / "run"]
        return done("score", net, *arguments)

    return score


def test_every_metric_of_a_map_has_a_row_and_asks_for_no_pass(scored, tmp_path):
    answer = scored(*options_of(*LOCAL, *COMPLEX), "--json", "--readout", "raw", "--readout", "logit")
    content = answer.json
    assert content["passes"] == {"requested": 0, "shared": 0, "run": 0}
    table = {(row["method"], row["metric"]): row for row in content["scores"]}
    assert len(table) == len(content["scores"]) == 2 * 9  # one row, whatever is read out
    for metric in LOCAL:
        assert table["ours", metric]["n"] == (4 if metric == "roc-auc" else 5)
        assert table["ours", metric]["mean"] < 1 if metric == "iou" else table["ours", metric]["mean"] == 1
        assert table["ours", metric]["readout"] == "none"
    assert table["ours", "entropy"]["n"] == COUNT
    stored = rows(tmp_path / "run")
    assert {(row["passes"], len(row["curve"] or ())) for row in stored} == {(0, 0)}
    assert {row["image"] for row in stored if row["metric"] == "iou"} == set("01234")
    assert "1 of 6 images have no region, and no row of the metrics that need one: 5" in answer.err
    assert "1 of 6 images have a region that covers all of the image, and no row of roc-auc: 2" in answer.err


def test_values_are_those_of_the_pixels(scored, place, tmp_path):
    scored(*options_of("relevance-mass", "entropy", "deletion"), "--quiet")
    maps = np.load(place / "noise.npz")["maps"].astype(float)
    inside = np.load(place / "ours.npz")["maps"].astype(bool)
    mine = {(row["metric"], row["image"]): row for row in rows(tmp_path / "run") if row["method"] == "noise"}
    for number, (values, region) in enumerate(zip(maps, inside, strict=True)):
        shares = values / values.sum()
        entropy = -sum(p * math.log(p) for p in shares.ravel() if p)
        assert mine["entropy", str(number)]["value"] == pytest.approx(entropy, abs=1e-9)
        assert mine["deletion", str(number)]["readout"] == "raw"
        if number < 5:
            assert mine["relevance-mass", str(number)]["value"] == pytest.approx(shares[region].sum(), abs=1e-9)
    assert mine["entropy", "0"]["target"] == mine["deletion", "0"]["target"]


def test_doubtful_maps_are_said_to_be(scored, tmp_path):
    scored(*options_of("entropy", "relevance-mass"), "--quiet")
    blank = [row for row in rows(tmp_path / "run") if row["method"] == "ours" and row["image"] in "25"]
    assert [row["warnings"] for row in blank] == [["constant map"]] * 3
    assert [row["value"] for row in blank if row["metric"] == "entropy"] == [pytest.approx(math.log(SIDE**2))] * 2


def test_masks_say_the_same_as_boxes(scored, place, tmp_path):
    (tmp_path / "masks").mkdir()
    for number, mask in enumerate(np.load(place / "ours.npz")["maps"][:5]):
        Image.fromarray(mask.astype(bool)).save(tmp_path / "masks" / f"{number}.png")
    scored(*options_of(*LOCAL), "--quiet")
    scored(*options_of(*LOCAL), "--quiet", "--regions", tmp_path / "masks", out=tmp_path / "other")
    assert rows(tmp_path / "run") == rows(tmp_path / "other")


def test_settings_reach_the_protocols_that_have_them(scored):
    answer = scored(*options_of("iou", "gini"), "--set", "threshold=region-size", "--json")
    table = {(row["method"], row["metric"]): row for row in answer.json["scores"]}
    assert table["ours", "iou"]["mean"] == 1
    assert table["ours", "iou"]["protocol"] == "c2i+threshold=region-size"
    assert table["ours", "gini"]["protocol"] == "c2i"


def test_a_run_goes_on_with_its_own_regions_only(scored, net, place, tmp_path):
    scored(*options_of("iou"), "--quiet")
    before = rows(tmp_path / "run")
    scored("--quiet", "--resume")
    assert rows(tmp_path / "run") == before
    (tmp_path / "other.csv").write_text("file,x0,y0,x1,y1\n0,0,0,4,4\n")
    common = ["--images", place / "val.npz", "--maps", place / "ours.npz", "--maps", place / "noise.npz"]
    for given, said in (
        (["--regions", tmp_path / "other.csv"], "begun with other regions"),
        ([], "iou: needs to know where the objects are; give --regions"),
    ):
        answer = run("score", net, *common, *given, "--resume", "--quiet", "--out", tmp_path / "run")
        assert answer.code == 1
        assert said in answer.err
    assert rows(tmp_path / "run") == before


def test_rescoring_keeps_what_no_read_out_enters(scored, cal, tmp_path):
    scored(*options_of("roc-auc", "deletion"), "--keep-logits", "--quiet")
    scored(*options_of("iou"), "--keep-logits", "--quiet", out=tmp_path / "alone")  # image 5 has nothing to read
    for name, metric in (("run", "roc-auc"), ("alone", "iou")):
        prefix = done("rescore", tmp_path / name, "--calibrator", cal, "--json").json["prefix"]
        first, again = ([row for row in rows(tmp_path / name, p) if row["metric"] == metric] for p in ("part", prefix))
        assert first == again
        assert len(first) == 2 * (4 if metric == "roc-auc" else 5)


@pytest.fixture
def refused(net, place, tmp_path, monkeypatch):
    """Asserts that a command line is refused in one line, before any engine."""

    def no_engine(*arguments: object) -> None:
        raise AssertionError("an engine was opened before the inputs were checked")

    def check(options: list[object], said: str, code: int = 1) -> None:
        monkeypatch.setattr("c2i_fast.export.open.GraphOpener.__call__", no_engine)
        common = ["--images", place / "val.npz", "--controls", "--quiet", "--out", tmp_path / "out"]
        answer = run("score", net, *common, *options)
        assert answer.code == code, answer.err
        assert len(answer.err.splitlines()) == 1
        assert answer.err.startswith("c2i-fast: ")
        assert re.search(said, answer.err), answer.err
        assert not (tmp_path / "out").exists()

    return check


def test_regions_and_the_metrics_that_need_them_go_together(refused, place):
    refused(options_of("iou", "gini"), "iou: needs to know where the objects are; give --regions SRC, a CSV with")
    refused(["--regions", place / "boxes.csv"], "no metric that is asked for looks at regions; add one")
    refused(["--regions", "", *options_of("iou")], "--regions is empty", code=2)
    refused(["--regions", place / "absent", *options_of("iou")], "absent: expected a CSV .* but it does not exist")


def test_boxes_outside_the_image_are_named(refused, tmp_path):
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\n3,0,0,17,4\n")
    said = r"boxes\.csv: region of image 3: expected a box inside the picture, 0 ≤ x0 < x1 ≤ 16 .*, got x 0 to 17"
    refused(["--regions", tmp_path / "boxes.csv", *options_of("iou")], said)


def test_an_npz_of_objects_is_never_unpickled(refused, tmp_path):
    np.savez(tmp_path / "masks.npz", masks=np.array([{}] * COUNT), ids=[str(n) for n in range(COUNT)])
    refused(["--regions", tmp_path / "masks.npz", *options_of("iou")], "Python objects, which are never unpickled")


# -------------------------------------------------------------------------------- in memory


def test_arrays_in_memory_are_scored_as_files_are(net, place, scored, tmp_path):
    scored(*options_of(*LOCAL, *COMPLEX), "--quiet", maps=("noise",))
    expected = {(row["metric"], row["image"]): row["value"] for row in rows(tmp_path / "run")}
    masks = np.load(place / "ours.npz")["maps"] > 0
    images, maps = np.load(place / "val.npz")["images"], np.load(place / "noise.npz")["maps"]
    made = c2i_fast.score(net, images, maps, metrics=(*LOCAL, *COMPLEX), regions=masks)
    assert {(row.metric, row.image): row.value for row in made.rows} == expected
    with pytest.raises(ValueError, match="iou: needs to know where the objects are"):
        c2i_fast.score(net, images, maps, metrics=("iou",))


def small_case(count: int = 5):
    rng = np.random.default_rng(0)
    images = MemoryImages(rng.random((count, 3, 6, 5)).astype(np.float32))
    maps = memory_maps(rng.random((count, 6, 5)), images.ids)
    task = ScoreTask(
        measures=make_measures(("roc-auc", "deletion"), ("c2i",), {"intervals": "5"}),
        readouts=("raw",),
        preprocessing=Preprocessing(),
        regions=open_regions(rng.random((count, 6, 5)) < 0.5, images),
    )
    return images, maps, task, nets.NumpyPasses(nets.smooth_function((3, 6, 5), seed=4))


def auc_of(parts):
    return {
        score.image: score.value
        for part in parts
        for image in part.images
        for score in image.scores
        if score.metric == "roc-auc"
    }


def test_a_subset_of_the_images_finds_its_own_regions():
    images, maps, task, passes = small_case()
    whole = auc_of(score_stream(images.stream(), maps, passes, task))
    chosen = SubsetSource(images, frozenset(["3", "1"]))
    assert auc_of(score_stream(chosen.stream(), maps, passes, task)) == {i: whole[i] for i in ("1", "3")}
    regions = open_regions(np.array([task.regions.load(i) for i in ("1", "3")]), chosen)
    assert auc_of(score_stream(chosen.stream(), maps, passes, replace(task, regions=regions))) == {
        i: whole[i] for i in ("1", "3")
    }


@pytest.mark.parametrize("metric", [*LOCAL, *COMPLEX])
def test_a_map_with_a_channel_axis_is_summed_over_its_channels(metric):
    rng = np.random.default_rng(0)
    saliency = rng.normal(size=(3, 6, 5)).astype(np.float32)
    image = source.Image(index=0, id="a", pixels=np.zeros((3, 6, 5), np.float32), region=rng.random((6, 5)) < 0.5)
    (measure,) = make_measures((metric,), ("c2i",))
    found = []
    for values in (saliency, saliency.astype(np.float64).sum(0)):
        case = MapCase(image=image, method="m", ranked=RankedMap(saliency=values))
        found.append(measure.metric.request(case, None, measure.protocols).x[0])
    assert found[0] == pytest.approx(found[1], abs=1e-12)


def test_a_part_holds_no_more_images_than_it_may_however_few_passes_they_need(monkeypatch):
    images, maps, task, passes = small_case()
    whole = auc_of(score_stream(images.stream(), maps, passes, task))
    monkeypatch.setattr(sys.modules["c2i_fast.score"], "MOST_IMAGES_PER_PART", 2)  # the name is a function's too
    parts = list(score_stream(images.stream(), maps, passes, task))
    assert [len(part.images) for part in parts] == [2, 2, 1]
    assert auc_of(parts) == whole


# -------------------------------------------------------------------------------- real boxes


@pytest.mark.slow
def test_imagenet_boxes_and_the_controls(assets, tmp_path):
    photos = assets / "images" / "imagenet_val"
    model = assets / "models" / "imagenet" / "squeezenet_v1.1.onnx"
    arguments = ["--recipe", "caffe-bgr", "--images", photos / "manifest.csv", "--limit", 24, "--controls"]
    arguments += ["--regions", photos / "boxes.csv", *options_of("roc-auc", "pointing-game", "relevance-mass")]
    content = done("score", model, *arguments, "--json", "--out", tmp_path / "run").json
    means = {(row["method"], row["metric"]): row["mean"] for row in content["scores"]}
    assert means["random", "roc-auc"] == pytest.approx(0.5, abs=0.01)
    assert means["center", "roc-auc"] > 0.7, "objects are in the middle"
    areas = {}
    with (photos / "boxes.csv").open() as file:
        for row in csv.DictReader(file):
            x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
            at = np.arange(227) + 0.5
            inside = np.outer((y0 <= at) & (at < y1), (x0 <= at) & (at < x1))
            areas[row["file"]] = areas.get(row["file"], False) | inside
    stored = [row for row in rows(tmp_path / "run") if row["method"] == "random" and row["metric"] == "relevance-mass"]
    assert len(stored) == 24
    for row in stored:  # uniform noise has its mass where there is area
        assert row["value"] == pytest.approx(areas[row["image"]].mean(), abs=0.01)
    hashes = json.loads((tmp_path / "run" / "run.json").read_text())["hashes"]
    assert len(hashes["regions"]) == 64
