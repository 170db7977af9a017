"""`score`: its JSON, its table, what its rows are, and that every option matters (or must not)."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from scipy.special import expit, softmax

from tests.cli.things import done, means, pictures, rows, run, write_folder, write_maps

IDS = [str(number) for number in range(12)]
KEYS = {"run", "scores", "passes", "seconds", "build_seconds", "passes_per_second", "engine"}


@pytest.fixture
def score(net, npz, maps, tmp_path):
    """Runs `score` into a folder of its own; returns the rows and the answer."""
    count = iter(range(100))

    def make(*options, model=net, images=npz, given=maps, out=None):
        out = out or tmp_path / f"run-{next(count)}"
        chosen = () if given is None else ("--maps", given)
        answer = done("score", model, "--images", images, *chosen, "--out", out, "--json", *options)
        return rows(out), answer

    return make


def network(net, images):
    session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images.astype(np.float32)})[0].astype(np.float64)


def pixels(number: int) -> np.ndarray:
    return pictures(12)[0][number].transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def masked(image, saliency, *, lerf=False, insertion=False, intervals=32):
    """The images of a `c2i` curve, from the definition, one by one: baseline 0 (no mean was given)."""
    flat = saliency.ravel()
    order = sorted(range(flat.size), key=lambda p: (-flat[p], p))
    order = order[::-1] if lerf else order
    for k in range(intervals + 1):
        changed = -(-k * flat.size // intervals) if insertion else k * flat.size // intervals
        mask = np.zeros(flat.size, bool)
        mask[order[:changed]] = True
        mask = mask.reshape(saliency.shape)
        yield np.where(mask, image, 0) if insertion else np.where(mask, 0, image)


def area(values):
    return np.trapezoid(values, np.linspace(0, 1, len(values)))


# -------------------------------------------------------------------------------- what it says


def test_the_json_keeps_its_keys(score, tmp_path):
    found, answer = score(out=tmp_path / "run")
    content = answer.json
    assert set(content) >= KEYS
    assert content["run"] == str(tmp_path / "run")
    assert set(content["passes"]) == {"requested", "shared", "run"}
    assert set(content["engine"]) == {"name", "precision", "device", "reason"}
    assert "estimate" not in content
    for entry in content["scores"]:
        assert set(entry) >= {"method", "metric", "protocol", "readout", "mean", "ci95", "n"}
        mine = [r["value"] for r in found if (r["metric"], r["readout"]) == (entry["metric"], entry["readout"])]
        assert entry["n"] == len(mine) == 12
        assert entry["mean"] == pytest.approx(np.mean(mine), abs=1e-12)
        low, high = entry["ci95"]
        assert low < entry["mean"] < high
    assert content["passes_per_second"] == pytest.approx(content["passes"]["run"] / content["seconds"])


def test_passes_are_counted_as_points_asked_for_and_images_forwarded(score):
    """33 points each of deletion, insertion and deletion-lerf; of these 2·32 images differ."""
    content = score()[1].json
    assert content["passes"] == {"requested": 12 * 99, "shared": 12 * 35, "run": 12 * 64}


def test_one_image_has_no_interval_and_the_json_no_nan(score):
    content = score("--limit", "1")[1].json
    assert all(entry["ci95"] is None or entry["ci95"] == [None, None] for entry in content["scores"])
    assert all(entry["n"] == 1 for entry in content["scores"])


def test_the_table_and_quiet(net, npz, maps, tmp_path):
    options = ("--images", npz, "--maps", maps)
    answer = done("score", net, *options, "--out", tmp_path / "run", "--quiet")
    assert answer.err == ""
    for said in ("12 images, protocol c2i", "noise", "deletion", "insertion", "gap", "raw", "768 passes run for 1,188"):
        assert said in answer.out
    assert "add --controls" in answer.out
    spoken = done("score", net, *options, "--controls", "--out", tmp_path / "second")
    assert "engine: openvino fp32" in spoken.err
    assert "− smooth-random, paired" in spoken.out
    assert "add --controls" not in spoken.out


# -------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(
    ("metric", "how"),
    [
        ("deletion", {}),
        ("insertion", {"insertion": True}),
        ("deletion-lerf", {"lerf": True}),
        ("insertion-lerf", {"lerf": True, "insertion": True}),
    ],
)
def test_a_curve_is_its_definition(score, net, maps, metric, how):
    found, _ = score("--metric", metric, "--limit", "3")
    assert len(found) == 3
    for number, row in enumerate(found):
        image, saliency = pixels(number), np.load(maps)["maps"][number]
        target = network(net, image[None])[0].argmax()
        logits = network(net, np.stack(list(masked(image, saliency, **how))))
        expected = softmax(logits, axis=1)[:, target]
        np.testing.assert_allclose(row["curve"], expected, atol=1e-5)
        assert row["value"] == pytest.approx(area(expected), abs=1e-5)
        assert (row["target"], row["passes"], row["image"]) == (target, 33, str(number))
        assert row["fractions"] == pytest.approx(np.linspace(0, 1, 33), abs=1 / 256)


def test_the_gap_is_the_difference_of_two_curves(score):
    found, _ = score("--metric", "gap", "--metric", "deletion", "--metric", "deletion-lerf")
    by = {(r["image"], r["metric"]): r for r in found}
    for image in IDS:
        lerf, morf, gap = (by[image, name] for name in ("deletion-lerf", "deletion", "gap"))
        np.testing.assert_allclose(gap["curve"], np.subtract(lerf["curve"], morf["curve"]), atol=1e-12)
        assert gap["value"] == pytest.approx(lerf["value"] - morf["value"], abs=1e-12)


def test_read_outs_are_made_of_the_same_passes(score, net, maps, cal):
    names = ("raw", "calibrated", "logit", "sigmoid")
    options = [part for name in names for part in ("--readout", name)]
    found, answer = score("--calibrator", cal, "--metric", "deletion", "--limit", "1", *options)
    temperature = json.loads(cal.read_text())["parameters"]["temperature"]
    logits = network(net, np.stack(list(masked(pixels(0), np.load(maps)["maps"][0]))))
    target = logits[0].argmax()
    expected = {
        "raw": softmax(logits, axis=1)[:, target],
        "calibrated": softmax(logits / temperature, axis=1)[:, target],
        "logit": logits[:, target],
        "sigmoid": expit(logits[:, target]),
    }
    curves = {row["readout"]: row["curve"] for row in found}
    assert list(curves) == list(names)
    for name, values in expected.items():
        np.testing.assert_allclose(curves[name], values, atol=1e-4)
    assert answer.json["passes"]["run"] == 33


def test_a_fused_file_is_read_raw_and_calibrated(score, fused, cal, net):
    direct, _ = score("--calibrator", cal)
    inside, _ = score(model=fused)
    assert {row["readout"] for row in inside} == {"raw", "calibrated"}
    for first, second in zip(direct, inside, strict=True):
        assert first["value"] == pytest.approx(second["value"], abs=1e-6)
    assert {row["readout"] for row in score()[0]} == {"raw"}


# -------------------------------------------------------------------------------- what must matter


@pytest.mark.parametrize(
    ("setting", "points"),
    [
        ("intervals=8", 9),
        ("pixels_per_step=64", 5),
        ("counts=ceil-block", 30),
        ("counts=pixels", 3),
        ("ties=reverse-index", 33),
        ("baseline=white", 33),
        ("baseline=black", 33),
        ("baseline=image-mean", 33),
        ("baseline=blur", 33),
        ("target=1", 33),
        ("counts=floor", 31),
        ("x=step", 31),
    ],
)
def test_every_field_of_a_protocol_can_be_set_and_matters(score, tmp_path, setting, points):
    rng = np.random.default_rng(0)
    tied = np.round(rng.random((12, 16, 16), np.float32), 1)  # ties, so that their order matters
    np.savez(tmp_path / "tied.npz", maps=tied, ids=np.array(IDS))
    options = ("--mean", "0.3", "--metric", "insertion", "--metric", "deletion")
    uneven = ("counts=floor", "counts=ceil-block", "x=step")  # differ where 256/n is not whole
    odd = ("--set", "intervals=30") if setting in uneven else ()
    plain, _ = score(*options, *odd, given=tmp_path / "tied.npz")
    other, _ = score(*options, *odd, "--set", setting, given=tmp_path / "tied.npz")
    assert {len(row["curve"]) for row in other} == {points}
    names = {row["protocol"] for row in other}
    assert names == {"+".join(["c2i", *sorted([setting, *odd[1:]])])}
    assert {row["protocol_hash"] for row in other}.isdisjoint(row["protocol_hash"] for row in plain)
    assert any(
        len(a["curve"]) != len(b["curve"]) or abs(a["value"] - b["value"]) > 1e-7
        for a, b in zip(plain, other, strict=True)
    )


def test_a_synonym_and_a_default_written_out_are_the_same_protocol(score):
    plain, _ = score()
    for setting in ("baseline=zero", "intervals=32", "ties=index"):
        other, _ = score("--set", setting)
        assert [r["protocol_hash"] for r in other] == [r["protocol_hash"] for r in plain]
        assert [r["value"] for r in other] == [r["value"] for r in plain]
        assert {r["protocol"] for r in other} == {f"c2i+{setting}"}


def test_presets_differ(score):
    ours, rise = score()[0], score("--preset", "rise")[0]
    assert {row["protocol"] for row in rise} == {"rise"}
    assert {len(row["curve"]) for row in rise} == {256 // (8 * 16) + 1}
    assert {row["protocol_hash"] for row in ours}.isdisjoint(row["protocol_hash"] for row in rise)
    assert rise[0]["metric"] == ours[0]["metric"] == "deletion"


@pytest.mark.parametrize("rule", ["label", "given", "0", "2"])
def test_the_target_rule_is_followed(score, npz, rule):
    data = np.load(npz)
    expected = {"label": data["labels"], "given": data["targets"], "0": np.zeros(12), "2": np.full(12, 2)}[rule]
    found, _ = score("--target", rule, "--metric", "deletion")
    assert [row["target"] for row in found] == expected.tolist()
    assert {row["protocol"] for row in found} == {f"c2i+target={rule}"}
    top1, _ = score("--target", "top1", "--metric", "deletion")
    assert {row["protocol"] for row in top1} == {"c2i"}
    assert [row["target"] for row in top1] != expected.tolist()


def test_metrics_are_what_was_asked_for(score):
    found, _ = score("--metric", "insertion-lerf", "--metric", "insertion-lerf")
    assert {row["metric"] for row in found} == {"insertion-lerf"}
    assert len(found) == 12
    assert {row["metric"] for row in score()[0]} == {"deletion", "insertion", "gap"}


def test_limit_takes_the_first_images(score):
    found, answer = score("--limit", "5")
    assert list(dict.fromkeys(row["image"] for row in found)) == IDS[:5]
    assert answer.json["images"] == 5


def test_preprocessing_matters(score):
    plain = means(score()[1])
    assert means(score("--std", "0.5")[1]) != plain
    assert means(score("--mean", "0.5")[1]) != plain


def test_controls_are_added_to_the_maps(score):
    found, answer = score("--controls")
    assert list(dict.fromkeys(row["method"] for row in found)) == [
        "noise",
        "random",
        "smooth-random",
        "sobel",
        "center",
    ]
    alone, _ = score("--controls", given=None)
    assert {row["method"] for row in alone} == {"random", "smooth-random", "sobel", "center"}
    of_noise = [row for row in found if row["method"] == "noise"]
    assert [row["value"] for row in of_noise] == [row["value"] for row in score()[0]]
    lifts = {entry["method"]: entry.get("lift") for entry in answer.json["scores"]}
    assert lifts["smooth-random"] is None
    assert all(lifts[method] for method in ("noise", "random", "sobel", "center"))


def test_controls_are_those_of_explain(score, net, npz, tmp_path):
    methods = [part for name in ("random", "smooth-random", "sobel", "center") for part in ("--method", name)]
    done("explain", net, "--images", npz, *methods, "--seed", "5", "--out", tmp_path / "maps", "--quiet")
    explained, _ = score("--seed", "5", given=tmp_path / "maps")
    added, _ = score("--seed", "5", "--controls", given=None)
    assert explained == added


def test_a_control_that_was_given_as_maps_is_not_added_twice(score, tmp_path):
    write_maps(tmp_path / "center.npz", IDS)
    found, _ = score("--controls", "--metric", "deletion", given=tmp_path / "center.npz")
    assert len([row for row in found if row["method"] == "center"]) == 12


def test_the_seed_draws_the_controls_and_nothing_else(score):
    first, second = (score("--controls", "--seed", seed)[0] for seed in ("0", "1"))
    for a, b in zip(first, second, strict=True):
        assert (a["curve"] == b["curve"]) == ("random" not in a["method"])


# -------------------------------------------------------------------------------- must not matter


@pytest.mark.parametrize(
    "same",
    [
        ("--batch-size", "7"),
        ("--batch-size", "33"),
        ("--threads", "1"),
        ("--workers", "4"),
        ("--part-passes", "70"),
        ("--device", "cpu"),
        ("--engine", "openvino"),
        ("--precision", "fp32"),
        ("--keep-logits",),
        ("--preset", "c2i"),
        ("--readout", "raw"),
        ("--on-error", "skip"),
        ("--fp32-images", "3"),
        ("--allow-drift",),
    ],
)
def test_what_must_not_matter(score, same):
    first, second = score("--controls")[0], score("--controls", *same)[0]
    for a, b in zip(first, second, strict=True):
        assert {k: v for k, v in a.items() if k not in ("value", "curve")} == {
            k: v for k, v in b.items() if k not in ("value", "curve")
        }
        np.testing.assert_allclose(a["curve"], b["curve"], atol=1e-6)


def test_parts_hold_whole_images_and_as_many_as_asked_for(score, tmp_path):
    for passes, parts in (("65", 6), ("64", 12), ("1024", 1)):
        score("--part-passes", passes, out=tmp_path / passes)
        assert len(list((tmp_path / passes / "scores").iterdir())) == parts


def test_engines_agree(score):
    pytest.importorskip("openvino")
    first, second = (score("--engine", engine) for engine in ("onnxruntime", "openvino"))
    assert first[1].json["engine"]["name"] == "onnxruntime"
    assert second[1].json["engine"]["name"] == "openvino"
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_allclose(a["curve"], b["curve"], atol=1e-4)


def test_the_torch_engine_agrees(score, made, monkeypatch):
    pytest.importorskip("torch")
    (made / "scored_torch_net.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(768, 3))\n"
    )
    monkeypatch.chdir(made)
    options = ("--size", "16", "--limit", "3", "--mean", "0.4", "--std", "0.2", "--bgr")
    first, second = (
        score(*options, "--engine", engine, model="scored_torch_net:net") for engine in ("torch", "onnxruntime")
    )
    assert first[1].json["engine"]["name"] == "torch"
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_allclose(a["curve"], b["curve"], atol=1e-5)


def test_images_in_another_order_have_the_same_rows(score, tmp_path):
    images, labels = pictures(12)
    order = np.random.default_rng(0).permutation(12)
    np.savez(tmp_path / "mixed.npz", images=images[order], labels=labels[order], ids=np.array(IDS)[order])
    mixed, plain = score("--controls", images=tmp_path / "mixed.npz")[0], score("--controls")[0]
    assert [row["image"] for row in mixed] != [row["image"] for row in plain]

    def by(found):
        return {(row["image"], row["method"], row["metric"], row["target"]): row["curve"] for row in found}

    assert by(mixed).keys() == by(plain).keys()
    for key, curve in by(mixed).items():
        np.testing.assert_allclose(curve, by(plain)[key], atol=1e-6)


# -------------------------------------------------------------------------------- maps


def test_maps_from_a_folder_and_an_npz_are_the_same(score, maps, tmp_path):
    (tmp_path / "noise").mkdir()
    for image, values in zip(IDS, np.load(maps)["maps"], strict=True):
        np.save(tmp_path / "noise" / f"{image}.npy", values)
    assert score(given=tmp_path / "noise")[0] == score()[0]


def test_a_name_may_be_given_to_maps_and_picks_one_of_explains(score, maps, net, npz, tmp_path):
    named, _ = score(given=f"mine={maps}")
    assert {row["method"] for row in named} == {"mine"}
    assert [row["value"] for row in named] == [row["value"] for row in score()[0]]
    methods = ("--method", "center", "--method", "sobel")
    done("explain", net, "--images", npz, *methods, "--out", tmp_path / "maps", "--quiet")
    assert {row["method"] for row in score(given=tmp_path / "maps")[0]} == {"center", "sobel"}
    assert {row["method"] for row in score(given=f"sobel={tmp_path / 'maps'}")[0]} == {"sobel"}


def test_several_maps_are_scored_together_and_cost_what_differs(score, maps, tmp_path):
    copy = tmp_path / "copy.npz"
    np.savez(copy, **np.load(maps))
    found, answer = score("--maps", copy)
    assert {row["method"] for row in found} == {"noise", "copy"}
    assert answer.json["passes"] == {"requested": 2 * 12 * 99, "shared": 12 * (2 * 99 - 64), "run": 12 * 64}
    by = {(r["method"], r["image"], r["metric"]): r["curve"] for r in found}
    assert all(by["noise", image, metric] == curve for (_, image, metric), curve in by.items())


def test_small_maps_are_spread_bilinearly(score, maps, tmp_path):
    small = np.random.default_rng(2).random((12, 4, 4), np.float32)
    np.savez(tmp_path / "small.npz", maps=small, ids=np.array(IDS))
    torch = pytest.importorskip("torch")
    large = torch.nn.functional.interpolate(
        torch.from_numpy(small).double()[:, None], (16, 16), mode="bilinear", align_corners=False
    )[:, 0].float()
    np.savez(tmp_path / "large.npz", maps=large.numpy(), ids=np.array(IDS))
    first, second = (score(given=tmp_path / f"{name}.npz")[0] for name in ("small", "large"))
    assert [row["value"] for row in first] == pytest.approx([row["value"] for row in second], abs=1e-3)


def test_pictures_find_their_maps_by_stem_or_path(score, folder, tmp_path):
    stems = [path.stem for path in folder.rglob("*.png")]
    write_maps(tmp_path / "m.npz", stems)
    found, _ = score(images=folder, given=tmp_path / "m.npz")
    assert {row["image"] for row in found} == {str(p.relative_to(folder)) for p in folder.rglob("*.png")}


def test_tied_maps_say_so_in_their_rows(score, tmp_path):
    tied = np.zeros((12, 16, 16), np.float32)
    tied[:, :8] = np.random.default_rng(0).random((12, 8, 16))
    np.savez(tmp_path / "tied.npz", maps=tied, ids=np.array(IDS))
    found, _ = score(given=tmp_path / "tied.npz")
    assert {tuple(row["warnings"]) for row in found} == {("ties=0.50",)}
    assert {tuple(row["warnings"]) for row in score()[0]} == {()}


# -------------------------------------------------------------------------------- runs


def test_the_run_says_how_it_was_made(score, tmp_path):
    score("--seed", "3", "--set", "intervals=8", out=tmp_path / "run")
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["settings"]["seed"] == 3
    assert content["settings"]["engine"] == "openvino"
    assert content["settings"]["batch_size"] == 64
    assert {p["metric"] for p in content["protocols"]} == {"deletion", "insertion", "deletion-lerf"}
    assert {p["intervals"] for p in content["protocols"]} == {8}
    assert all(len(p["hash"]) == 16 for p in content["protocols"])
    assert set(content["hashes"]) == {"model", "calibrator", "images", "maps", "regions"}
    assert "onnxruntime" in content["versions"]


def test_images_that_cannot_be_read_are_left_out_counted_and_recorded(net, tmp_path):
    write_folder(tmp_path / "val", 6)
    (tmp_path / "val" / "1" / "broken.jpg").write_text("no picture")
    options = ("--images", tmp_path / "val", "--controls", "--out", tmp_path / "run")
    assert run("score", net, *options).code == 1
    answer = done("score", net, *options, "--on-error", "skip", "--json")
    assert answer.json["images"] == 6
    assert {entry["n"] for entry in answer.json["scores"]} == {6}
    (skipped,) = answer.json["skipped"]
    assert skipped[0] == "1/broken.jpg"
    assert "skipped 1/broken.jpg: " in answer.err
    assert "1/broken.jpg" not in {row["image"] for row in rows(tmp_path / "run")}
    again = done("score", net, *options, "--resume", "--json").json
    assert again["skipped"] == answer.json["skipped"], "recorded in the run"


def test_a_picture_that_breaks_late_keeps_the_parts_before_it(net, tmp_path):
    write_folder(tmp_path / "val", 9, labelled=False)
    (tmp_path / "val" / "zzz.png").write_text("no picture")
    options = ("--images", tmp_path / "val", "--controls", "--part-passes", "64", "--out", tmp_path / "run", "--quiet")
    assert run("score", net, *options).code == 1
    before = rows(tmp_path / "run")
    assert len({row["image"] for row in before}) >= 3
    done("score", net, *options, "--resume", "--on-error", "skip")
    after = rows(tmp_path / "run")
    assert after[: len(before)] == before
    assert len({row["image"] for row in after}) == 9


def test_going_on_with_a_finished_run_makes_no_pass_and_says_the_same(score, tmp_path, monkeypatch):
    first, answer = score(out=tmp_path / "run")
    monkeypatch.setattr("c2i_fast.perturb.passes.GraphPasses.select", None)
    second, again = score("--resume", out=tmp_path / "run")
    assert first == second
    assert again.json["scores"] == answer.json["scores"]
    assert again.json["passes"] == answer.json["passes"]


def test_resuming_nothing_starts_afresh(score, tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(score("--resume", out=tmp_path / "absent")[0]) == len(score("--resume", out=tmp_path / "empty")[0]) == 36


def test_what_a_kill_left_in_the_folder_is_in_nobodys_way(score, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.123.tmp").write_text("{")
    score(out=tmp_path / "run")
    leftover = tmp_path / "run" / "scores" / ".part-00001.parquet.123.tmp"
    leftover.write_text("half")
    score("--resume", out=tmp_path / "run")
    assert not leftover.exists()


def test_force_replaces_only_what_a_run_wrote(score, net, npz, maps, tmp_path):
    score("--keep-logits", "--part-passes", "64", out=tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert run("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "run").code == 1
    found, _ = score("--limit", "2", "--force", out=tmp_path / "run")
    assert len(found) == 6
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["notes.txt", "run.json", "scores"]


def test_force_keeps_the_old_run_where_the_new_input_is_wrong(score, net, npz, tmp_path):
    before, _ = score(out=tmp_path / "run")
    assert run("score", net, "--images", npz, "--maps", "absent", "--out", tmp_path / "run", "--force").code == 1
    assert rows(tmp_path / "run") == before


# -------------------------------------------------------------------------------- low precision


@pytest.fixture
def low(score):
    pytest.importorskip("openvino")
    return lambda *options: score("--precision", "bf16", "--controls", "--allow-drift", *options)


def test_low_precision_is_scored_on_a_subset_in_fp32_too(low, tmp_path):
    found, answer = low("--fp32-images", "5")
    content = answer.json
    assert content["engine"]["name"] == "openvino"
    assert content["engine"]["precision"] == "bf16"
    assert content["estimate"]["images"] == 5
    assert set(content["estimate"]) >= {"images", "passes", "seconds"}
    assert content["passes"]["requested"] == 5 * 12 * 99
    for entry in content["scores"]:
        assert {"mean", "ci95"} <= set(entry["corrected"])
    exact = {(r["image"], r["method"], r["metric"]): r["value"] for r in rows(tmp_path / "run-0", "fp32")}
    assert len({image for image, _, _ in exact}) == 5
    fast = {(r["image"], r["method"], r["metric"]): r["value"] for r in found}
    for entry in content["scores"]:
        cell = [k for k in exact if k[1:] == (entry["method"], entry["metric"])]
        change = np.mean([exact[k] - fast[k] for k in cell])
        assert entry["corrected"]["mean"] == pytest.approx(entry["mean"] + change, abs=1e-9)


def test_drift_that_is_too_large_is_a_failed_check_unless_accepted(net, npz, maps, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    from c2i_fast.errors import ContractError
    from c2i_fast.results.outcome import Outcome

    def fail(self):
        raise ContractError("bf16 is too far away; accept it with --allow-drift")

    monkeypatch.setattr(Outcome, "check", fail)
    options = ("--images", npz, "--maps", maps, "--precision", "bf16", "--json")
    refused = run("score", net, *options, "--out", tmp_path / "a")
    assert refused.code == 1
    assert refused.json["estimate"]["images"] == 12, "the numbers are shown all the same"
    assert refused.err.splitlines()[-1] == "c2i-fast: bf16 is too far away; accept it with --allow-drift"
    done("score", net, *options, "--allow-drift", "--out", tmp_path / "b")


# -------------------------------------------------------------------------------- what it will cost, and presets


def test_a_dry_run_says_what_the_run_then_costs_and_writes_nothing(net, npz, maps, tmp_path, score):
    options = ("--images", npz, "--maps", maps, "--preset", "c2i", "--preset", "torchcam", "--out", tmp_path / "run")
    content = done("score", net, *options, "--dry-run", "--json").json
    assert not (tmp_path / "run").exists()
    assert content["planned"] == content["images"] == 12
    assert content["seconds"] == pytest.approx(content["passes"]["run"] / content["passes_per_second"])
    real = score("--preset", "c2i", "--preset", "torchcam")[1].json
    assert content["passes"] == real["passes"]
    said = done("score", net, *options, "--dry-run").out
    assert f"{content['passes']['run']:,} passes to run" in said
    assert "Nothing was written" in said


def test_presets_together_cost_the_union_of_their_masks(score):
    """All order pixels alike and fill in zero: 16×16 pixels in 32 steps of 8, 20 blocks of 13, and 16 blocks of 16."""
    together = score("--preset", "c2i", "--preset", "torchcam", "--metric", "deletion")[1].json
    removed = {8 * k for k in range(33)} | {min(13 * k, 256) for k in range(21)}
    assert together["passes"]["run"] == 12 * len(removed)
    assert {entry["protocol"] for entry in together["scores"]} == {"c2i", "torchcam"}
    alone = {preset: score("--preset", preset, "--metric", "deletion")[0] for preset in ("c2i", "torchcam")}
    both, _ = score("--preset", "c2i", "--preset", "torchcam", "--metric", "deletion")
    for preset, found in alone.items():
        mine = [row for row in both if row["protocol"] == preset]
        assert [row["value"] for row in mine] == pytest.approx([row["value"] for row in found], abs=1e-6)


def test_a_preset_without_the_usual_metrics_is_scored_by_its_own(score):
    found, _ = score("--preset", "tomsett", "--limit", "2")
    assert {"aopc-morf", "aopc-lerf"} <= {row["metric"] for row in found}


# -------------------------------------------------------------------------------- fewer passes


def test_a_tolerance_runs_fewer_passes_and_says_how_far_the_means_may_be_off(score, net, npz, maps, tmp_path):
    long = ("--set", "intervals=128", "--readout", "raw")
    full, whole = score(*long)
    few, answer = score(*long, "--tolerance", "0.002")
    content = answer.json
    assert content["passes"]["run"] < 0.5 * whole.json["passes"]["run"]
    assert content["passes"]["requested"] == whole.json["passes"]["requested"]
    for entry in content["scores"]:
        numeric = entry["numeric"]
        assert numeric["ci95"][0] < entry["mean"] < numeric["ci95"][1]
        exact = [r["value"] for r in full if r["metric"] == entry["metric"]]
        width = numeric["ci95"][1] - numeric["ci95"][0]
        assert abs(entry["mean"] - sum(exact) / len(exact)) < 2 * width
    assert all("numeric" not in entry for entry in whole.json["scores"])
    options = ("--images", npz, "--maps", maps, "--out", tmp_path / "table", *long, "--tolerance", "0.002")
    assert "± by sampling points [95 %]" in done("score", net, *options).out
    assert {r["half_difference"] != 0 for r in few} == {True}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tolerance", "0"), "--tolerance is an error of a mean area, for example 0.001; got 0"),
        (("--tolerance", "0.001", "--keep-logits"), "leave one out"),
        (("--tolerance", "0.001", "--until-separated", "0.95"), "leave one out"),
        (("--tolerance", "0.001", "--metric", "aopc-morf"), "aopc-morf have none"),
    ],
)
def test_a_tolerance_that_makes_no_sense_is_wrong_usage(net, npz, maps, tmp_path, options, said):
    answer = run("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "run", "--quiet", *options)
    assert answer.code == 2
    assert said in answer.err
    assert not (tmp_path / "run").exists()
