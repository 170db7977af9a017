"""`c2i-fast calibrate --method recalx`: its options, and what it prints. A part of `calibrate`, not a command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from c2i_fast.cli.options import EngineOptions, ModelOptions, TalkOptions, choice, converted, open_source
from c2i_fast.cli.render import interval, progress, sayer, show_json, show_table
from c2i_fast.errors import InputError, UsageError

if TYPE_CHECKING:
    from c2i_fast.calibration.mask_law import MaskLaw

METHOD = "recalx"


@dataclass(frozen=True, kw_only=True)
class RecalxOptions:
    """How the masked images are made that ReCalX is fitted on. None means: the default."""

    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="recalx: what perturbed pixels become (mean); list baselines.")
    ] = None
    levels: Annotated[
        int | None, typer.Option(min=1, max=1000, help="recalx: levels of the perturbed fraction, of equal width (10).")
    ] = None
    masks_per_level: Annotated[
        int | None, typer.Option(min=1, max=10000, help="recalx: random masks at each level, the same for all (10).")
    ] = None
    grid: Annotated[
        int | None,
        typer.Option(min=1, max=512, help="recalx: cells of the masks on each axis (7; 49 of a signal)."),
    ] = None
    images_per_level: Annotated[
        int | None,
        typer.Option(min=1, help="recalx: at most so many images are fitted on, and as many judged by (200)."),
    ] = None

    def law(self, seed: int) -> MaskLaw:
        """Returns how masks are drawn."""
        from c2i_fast.calibration.mask_law import MaskLaw

        return MaskLaw(levels=self.levels or 10, masks=self.masks_per_level or 10, grid=self.grid, seed=seed)


def is_recalx(methods: list[str], masked: RecalxOptions, others: bool) -> bool:
    """Returns whether ReCalX is asked for.

    Args:
        methods: what `--method` gave.
        masked: its own options.
        others: whether `--logits`, `--measure` or `--diagram` is given.

    Raises:
        UsageError: It is, beside what it cannot go with; or it is not, and has options.
    """
    if METHOD not in methods:
        if masked != RecalxOptions():
            raise UsageError(
                "--baseline, --levels, --masks-per-level, --grid and --images-per-level are for --method recalx"
            )
        return False
    if methods != [METHOD] or others:
        raise UsageError(
            "--method recalx stands alone: it is fitted on masked images and judged on them, so it needs MODEL and "
            "--images, and takes no --logits, --measure, --diagram or other method"
        )
    return True


def fit_recalx(
    model: ModelOptions,
    engine: EngineOptions,
    talk: TalkOptions,
    masked: RecalxOptions,
    images: str | None,
    out: Path,
    fit_fraction: float,
    limit: int | None,
    seed: int,
    workers: int,
    on_error: str,
    force: bool,
) -> None:
    """Fits on masked images, judges on others, saves, and prints level by level."""
    from c2i_fast.calibration.file import save_calibrator
    from c2i_fast.calibration.recalx import ReCalX
    from c2i_fast.export.open import open_passes
    from c2i_fast.results.masked_calibration import calibrate_masked, split_images

    say = sayer(talk)
    choice("--on-error", on_error, ("stop", "skip"))
    classifier = model.load(say, seed)
    if classifier.contract.activation not in ReCalX.activations:
        raise InputError(f"recalx calibrates softmax heads, and this model's is {classifier.contract.activation}")
    source = open_source(images or "", classifier, say, limit)
    chosen = engine.choose(classifier)
    passes = open_passes(converted(classifier, chosen, source, seed), chosen.config, say)
    most = masked.images_per_level or 200
    total = sum(len(part) for part in split_images(source, fit_fraction, most, seed) if part)
    mode: Literal["stop", "skip"] = "skip" if on_error == "skip" else "stop"
    with progress(talk, "calibrate", total) as advance:
        passes.on_passes = lambda count: advance(0, count)
        report, *samples = calibrate_masked(
            source,
            passes,
            classifier.contract,
            masked.law(seed),
            masked.baseline or "mean",
            fit_fraction=fit_fraction,
            images=most,
            workers=workers,
            on_error=mode,
            on_images=lambda count: advance(count, 0),
        )
    skipped = [image for part in samples if part for image in part.skipped]
    for line in (*report.notes, *(f"skipped {image.id}: {image.reason}" for image in skipped)):
        say(line)
    content = replace(report, path=str(out)).to_dict() | {"skipped": len(skipped)}
    about = {"model": classifier.name, "source_sha256": classifier.contract.source_sha256, "skipped": len(skipped)}
    kept = ("n_fit", "n_test", "before", "after", "nll_change", "clean_temperature")
    meta = about | {name: content[name] for name in kept} | {"seed": seed, "fit_fraction": fit_fraction}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_calibrator(out, report.calibrator, classes=classifier.contract.classes, meta=meta, force=force)
    show_json(content) if talk.json else show_recalx(content)


def show_recalx(content: dict[str, Any]) -> None:
    """Prints the levels, then what ReCalX changed."""
    found, learnt = content["masked"], content["parameters"]
    title = (
        f"recalx: {learnt['levels']} levels, baseline {learnt['baseline']}; {content['n_fit']} images fitted, "
        f"{content['n_test']} held out; temperature of the clean images {content['clean_temperature']:.4f}"
    )
    temperatures = [f"{1 / beta:.4f}" for beta in learnt["inverse_temperatures"]]
    if found is None:
        levels = [[_range(b, learnt["levels"]), temperature] for b, temperature in enumerate(temperatures)]
        show_table(title, ["perturbed", "T"], levels)
    else:
        _show_levels(title, temperatures, found)
    if content["nll_change"]:
        print(f"NLL after − before, paired by image: {interval(*content['nll_change'].values())}")
    print(f"wrote {content['path']}")


def _show_levels(title: str, temperatures: list[str], found: dict[str, Any]) -> None:
    names = ("uncalibrated", "temperature", METHOD)
    rows = [
        [
            _range(row["level"], len(temperatures)),
            temperatures[row["level"]],
            *(interval(row[name]["kl"]["value"], row[name]["kl"]["ci95"], digits=3) for name in names),
            *(f"{row[name]['ece']['value']:.3f}" for name in names),
            *(f"{row[name]['nll']['value']:.3f}" for name in names),
        ]
        for row in found["levels"]
    ]
    columns = [f"{measure} {name}" for measure in ("KL", "ECE", "NLL") for name in names]
    show_table(title, ["perturbed", "T", *columns], rows)
    differences = [
        [f"{measure}, {which} level", *(interval(*found["differences"][which][o][measure].values()) for o in names[:2])]
        for measure in ("kl", "ece", "nll")
        for which in ("mean", "worst")
    ]
    show_table(
        "recalx minus the others, paired, 95 % over images", ["", *(f"− {name}" for name in names[:2])], differences
    )
    print("; ".join(f"{name.upper()}: {words}" for name, words in found["measures"].items()))


def _range(level: int, levels: int) -> str:
    return f"{level / levels:.0%} to {(level + 1) / levels:.0%}"
