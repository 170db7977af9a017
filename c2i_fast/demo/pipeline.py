"""The whole pipeline on images whose explanation is known. Each step is what a command of its own does on files.

data → train → calibrate → export → explain → score → truth → figures
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution import CONTROLS
from c2i_fast.demo.commands import MODEL, commands
from c2i_fast.demo.compare import Comparison, compare
from c2i_fast.demo.tetromino import Tetrominoes, make_tetrominoes
from c2i_fast.demo.train import PREPROCESSING, save_weights, train
from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.results.files import claim_output, write_json
from c2i_fast.types import Calibrator

if TYPE_CHECKING:
    from c2i_fast.calibration.interface import GraphCalibrator
    from c2i_fast.calibration.report import CalibrationReport
    from c2i_fast.data.map_source import MapSource
    from c2i_fast.data.source import ImageSource
    from c2i_fast.models.classifier import Classifier
    from c2i_fast.perturb.passes import GraphPasses
    from c2i_fast.results.outcome import Outcome

Say = Callable[[str], None]
HeldOut = tuple[NDArray[Any], NDArray[np.int64]]
"""Logits (N, K) and labels (N,) that no calibrator was fitted on."""

EXPLAINERS = ("rise", "gradient", "gradcam", *CONTROLS)
CALIBRATOR = "calibrator.json"
FIT_FRACTION = 0.5
EXTRAS = "cpu,torch,explain,report"
PACKAGES = {"pytorch_grad_cam": "grad-cam"}
"""Where what is installed is called otherwise than what is imported."""
NEEDED = ("torch", "onnxscript", "safetensors", "captum", "pytorch_grad_cam", "matplotlib")
ENGINES = ("onnxruntime", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many images are explained, and with how many masks."""

    images: int
    masks: int


# Even, so that classes are balanced. Both sizes share the images up to these, so the network and its temperature too.
TRAIN, CALIBRATION = 120, 1000
FULL = Sizes(images=128, masks=2000)
QUICK = Sizes(images=24, masks=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One demo: where it writes, how much, whom it tells, and the commands that do its steps on its files."""

    out: Path
    sizes: Sizes
    seed: int
    say: Say
    commands: Mapping[str, str]

    def tell(self, step: str, result: str) -> None:
        """Says what a step did and, where there is one, the command that does the same."""
        self.say(f"{step:<10} {result}")
        if step in self.commands:
            self.say(f"{'':<10} $ {self.commands[step]}")


def run_demo(
    out: Path, *, quick: bool = False, seed: int = 0, force: bool = False, say: Say = lambda message: None
) -> dict[str, Any]:
    """Runs everything, writes it to `out`, and returns what `demo --json` prints.

    Args:
        out: a new or empty folder; with `force`, files of an earlier demo in it are replaced.
        quick: fewer images and masks.
        seed: of every random number.
        force: see `out`.
        say: is told what happens, a line at a time.

    Raises:
        MissingDependencyError: with the install line for all that the demo needs.
        InputError: `out` is not empty, or cannot be written.
    """
    check_installed()
    claim_folder(out, force=force)
    clock = time.perf_counter()
    sizes = QUICK if quick else FULL
    lines = commands(out, seed=seed, methods=EXPLAINERS, masks=sizes.masks)
    demo = Demo(out=out, sizes=sizes, seed=seed, say=say, commands=lines)
    learn, images = make_data(demo)
    classifier = train_network(demo, learn)
    passes = open_passes(classifier)
    calibration, held_out = calibrate(demo, classifier, passes)
    exported = export(demo, classifier, calibration.calibrator)
    explained = explain(demo, classifier, passes)
    outcome, maps = score(demo)
    comparison = compare(outcome, maps, images, seed=seed)
    content = {
        "out": str(out),
        "seed": seed,
        "quick": quick,
        "calibration": calibration.to_dict() | {"path": str(out / CALIBRATOR)},
        "export": exported,
        "explain": explained,
        "score": outcome.to_dict(),
        "truth": comparison.to_dict(),
        "figures": draw(demo, images, comparison, outcome, held_out, calibration.calibrator),
        "commands": lines,
        "seconds": time.perf_counter() - clock,
    }
    write_json(out / "demo.json", content)
    return content


def check_installed() -> None:
    """Raises `MissingDependencyError` for the first package that is not installed, with all extras in its line."""
    missing = [PACKAGES.get(module, module) for module in NEEDED if find_spec(module) is None]
    if not any(find_spec(engine) for engine in ENGINES):
        missing.append(ENGINES[0])
    if missing:
        raise MissingDependencyError(missing[0], EXTRAS)


def claim_folder(out: Path, *, force: bool) -> None:
    """Makes the folder; an `InputError` where something else is in its place, or in it without `force`."""
    if out.exists() and not out.is_dir():
        raise InputError(f"output {out} must be a folder, but what is there is none; choose another name")
    claim_output(out, force=force)
    out.mkdir(parents=True, exist_ok=True)


def make_data(demo: Demo) -> tuple[Tetrominoes, Tetrominoes]:
    """Writes calibration.npz and images.npz; returns the images to learn from and those to explain."""
    first = TRAIN + CALIBRATION
    data = make_tetrominoes(first + FULL.images, seed=demo.seed)
    data.part(TRAIN, first).save(demo.out / "calibration.npz")
    images = data.part(first, first + demo.sizes.images)
    images.save(demo.out / "images.npz")
    demo.tell(
        "data",
        f"{TRAIN} images to learn from, {CALIBRATION} to calibrate with, {len(images)} to explain: "
        "a T or an L, turned and put anywhere on a smooth background",
    )
    return data.part(0, TRAIN), images


def train_network(demo: Demo, data: Tetrominoes) -> Classifier:
    """Trains the network, writes network.safetensors, and returns the classifier read back from it."""
    from c2i_fast.models import load_classifier

    clock = time.perf_counter()
    weights = demo.out / "network.safetensors"
    save_weights(train(data, seed=demo.seed), weights)
    demo.tell("train", f"a small network, some of its labels wrong on purpose ({time.perf_counter() - clock:.1f} s)")
    return load_classifier(MODEL, preprocessing=PREPROCESSING, weights=weights)


def open_passes(classifier: Classifier) -> GraphPasses:
    """Returns masked passes through the engine that `auto` chooses."""
    from c2i_fast.export.open import GraphOpener, engine_for
    from c2i_fast.perturb.passes import GraphPasses

    config = engine_for(classifier).config
    return GraphPasses(GraphOpener(classifier, config), classifier.contract, config.batch_size)


def calibrate(demo: Demo, classifier: Classifier, passes: GraphPasses) -> tuple[CalibrationReport, HeldOut]:
    """Fits a temperature on half of calibration.npz, judges it on the other half, writes calibrator.json."""
    from c2i_fast.calibration import fit_report, save_calibrator
    from c2i_fast.calibration.collect import collect_logits
    from c2i_fast.calibration.split import split_samples

    logits, labels, _ = collect_logits(source_of(demo, "calibration.npz", classifier), passes)
    report = fit_report(logits, labels, fit_fraction=FIT_FRACTION, seed=demo.seed)
    path = demo.out / CALIBRATOR
    save_calibrator(path, report.calibrator, classes=logits.shape[1], meta=report.to_dict(), force=True)
    before, after = report.before, report.chosen.after
    assert before is not None  # half of the images are held out
    assert after is not None
    demo.tell(
        "calibrate",
        f"temperature {report.calibrator.parameters()['temperature']:.2f}; on {report.n_test} held-out images "
        f"({before.accuracy:.0%} right) NLL {before.nll:.3f} → {after.nll:.3f}, ECE {before.ece:.3f} → {after.ece:.3f}",
    )
    test = split_samples(labels, FIT_FRACTION, demo.seed).test
    return report, (logits[test], labels[test])


def source_of(demo: Demo, name: str, classifier: Classifier) -> ImageSource:
    """Returns one of the demo's .npz as `--images` would read it."""
    from c2i_fast.data.images import open_images

    contract = classifier.contract
    return open_images(
        demo.out / name,
        preprocessing=contract.preprocessing,
        channels=contract.channels,
        classes=contract.classes,
    )


def export(demo: Demo, classifier: Classifier, calibrator: GraphCalibrator) -> dict[str, Any]:
    """Writes model.onnx, network and calibrator in one graph, verified; returns what `export --json` prints."""
    from c2i_fast.export.classifier import export_classifier

    report = export_classifier(classifier, demo.out / "model.onnx", calibrator=calibrator, force=True)
    difference = report.verify.max_abs_dprob
    demo.tell("export", f"network and temperature in one ONNX graph; largest |Δ probability| {difference:.1e}")
    return report.to_dict()


def explain(demo: Demo, classifier: Classifier, passes: GraphPasses) -> dict[str, Any]:
    """Writes maps/ for every method and control; returns what `explain --json` prints."""
    from c2i_fast.attribution import Context
    from c2i_fast.attribution.run import build_methods, clear_maps, explain_images

    preprocessing = classifier.contract.preprocessing
    context = Context(passes=passes, module=classifier.module, preprocessing=preprocessing, seed=demo.seed)
    methods = build_methods(EXPLAINERS, context, {"masks": demo.sizes.masks})
    source, folder = source_of(demo, "images.npz", classifier), demo.out / "maps"
    clear_maps(folder)
    clock = time.perf_counter()
    report = explain_images(source, methods, folder, passes=passes).to_dict()
    used = sum(method["passes"] for method in report["methods"])
    seconds = time.perf_counter() - clock
    demo.tell("explain", f"{len(source)} images, {len(methods)} methods, {used:,} passes ({seconds:.1f} s)")
    return report


def score(demo: Demo) -> tuple[Outcome, Mapping[str, MapSource]]:
    """Scores the maps through the exported graph into run/, raw and calibrated side by side."""
    from c2i_fast.models import load_classifier
    from c2i_fast.results.scoring import RunRequest, prepare
    from c2i_fast.results.settings import RunSettings

    request = RunRequest(
        out=demo.out / "run",
        given=RunSettings(seed=demo.seed),
        maps=(str(demo.out / "maps"),),
        calibrator=None,
        resume=False,
        force=True,
    )
    classifier = load_classifier(demo.out / "model.onnx")
    scoring = prepare(request, request.settings(), classifier, source_of(demo, "images.npz", classifier))
    outcome = scoring.run()
    totals = outcome.totals
    demo.tell(
        "score", f"{totals.run:,} passes for {totals.requested:,} points of curves asked for ({totals.seconds:.1f} s)"
    )
    return outcome, scoring.maps


def draw(
    demo: Demo,
    images: Tetrominoes,
    comparison: Comparison,
    outcome: Outcome,
    held_out: HeldOut,
    calibrator: Calibrator,
) -> list[str]:
    """Writes the figures and returns their paths."""
    from c2i_fast.demo.drawing import draw_curves, draw_overlays, draw_reliability

    paths = [demo.out / f"{name}.png" for name in ("curves", "overlays", "reliability")]
    rows = outcome.run.read()
    draw_curves(paths[0], rows)
    draw_overlays(paths[1], images, comparison.maps, rows)
    draw_reliability(paths[2], *held_out, calibrator)
    demo.tell("figures", ", ".join(map(str, paths)))
    return [str(path) for path in paths]
