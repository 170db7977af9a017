"""Does ReCalX calibrate masked images better than one temperature fitted on clean ones, on the masks that metrics make?

Fitted as `calibrate --method recalx` does: 200 images, 10 levels, 10 random masks of a 7×7 grid each, baseline `mean`.
Judged on other images: on random masks of their own, and on the masks of MoRF and LeRF curves of three methods at the
middle of each level. Of each level the KL calibration error (kernel estimate, top label), ECE and NLL of the network as
it is, of the clean temperature and of ReCalX; then the paired differences of the mean over levels and of the worst
level. Intervals reweigh images, not masks. RISE's maps are made from few masks here: only their ranking matters.

    python benchmarks/recalx.py
    python benchmarks/recalx.py --case mobilenet --test-images 100
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import common
import numpy as np

from c2i_fast.attribution import METHODS
from c2i_fast.attribution.base import Context
from c2i_fast.calibration.mask_law import MaskLaw
from c2i_fast.calibration.masked_report import MEASURES, judge_masked
from c2i_fast.calibration.masked_samples import MaskedSamples
from c2i_fast.calibration.recalx_report import OTHERS
from c2i_fast.cli.render import interval
from c2i_fast.data.source import ImageSource
from c2i_fast.perturb.baseline import Given, baseline_image
from c2i_fast.perturb.order import pixel_order, step_map
from c2i_fast.results.estimate import SubsetSource, subset
from c2i_fast.results.masked_calibration import calibrate_masked, split_images
from c2i_fast.types import Floats, PerturbationPlan

CASES = ("mobilenet", "squeezenet")
EXPLAINERS: Mapping[str, Mapping[str, Any]] = {"sobel": {}, "smooth-random": {}, "rise": {"masks": 64}}
BASELINE, IMAGES_AT_ONCE = "mean", 8


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--fit-images", type=int, default=200, help="fitted on (%(default)s)")
    parser.add_argument("--test-images", type=int, default=200, help="judged by on ranked masks (%(default)s)")
    parser.add_argument("--masks", type=int, default=10, help="random masks at each level (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.fit_images, options.test_images, options.masks, options.limit = 8, 4, 2, 16
    rows: list[dict[str, Any]] = []
    for case in common.chosen_cases(options, CASES):
        try:
            rows.append(_row(case, options))
        except common.SkipError as reason:
            common.say(f"skipped {case.name}: {reason}")
            rows.append({"case": case.name, "skipped": str(reason)})
    for row in rows:
        if "skipped" not in row:
            _show(row)
    common.emit("recalx", options, {"includes": __doc__, "rows": rows})


def _row(case: common.Case, options: argparse.Namespace) -> dict[str, Any]:
    classifier = case.classifier()
    config = common.engine_config(classifier, "auto", "fp32", options.threads)
    passes = common.GraphPasses(common.GraphOpener(classifier, config), classifier.contract, config.batch_size)
    source = case.source(classifier, options.limit)
    law = MaskLaw(masks=options.masks)
    common.say(f"{case.name}: {config.engine}, fitting on {options.fit_images} of {len(source)} images")
    report, _, test = calibrate_masked(
        source, passes, classifier.contract, law, BASELINE, images=options.fit_images, on_images=_every(100)
    )
    assert test is not None  # half of the images is held out
    _, held_out = split_images(source, 0.5, options.fit_images, law.seed)
    assert held_out is not None
    judges = SubsetSource(held_out, subset(held_out.ids, options.test_images, law.seed))
    calibrators = {"uncalibrated": None, "temperature": report.temperature, "recalx": report.calibrator}
    content = report.to_dict()
    found = {"random masks": content.pop("masked")}
    ranked = _ranked(judges, passes, classifier.contract.preprocessing, law.levels)
    for kind, samples in ranked.items():
        found[kind] = judge_masked(samples, calibrators, law.levels).to_dict(OTHERS)
        common.say(f"{case.name}: judged {kind}")
    return {"case": case.name, "engine": config.engine, "calibrator": content, "masks": found}


def _every(images: int) -> Any:
    """Returns what says now and then how many images are done."""
    done = [0]

    def tell(count: int) -> None:
        if (done[0] + count) // images > done[0] // images:
            common.say(f"  {done[0] + count} images")
        done[0] += count

    return tell


def _ranked(images: ImageSource, passes: Any, preprocessing: Any, levels: int) -> dict[str, MaskedSamples]:
    """Returns the samples of MoRF and of LeRF masks, of all methods together and of each."""
    methods = {
        name: METHODS[name](Context(passes=passes, preprocessing=preprocessing, options=options))
        for name, options in EXPLAINERS.items()
    }
    clean, labels, answers, fractions = [], [], [], []
    stream = images.stream()
    for batch in iter(lambda: list(islice(stream, IMAGES_AT_ONCE)), []):
        pixels = np.stack([image.pixels for image in batch])
        whole = passes.direct(list(pixels))
        maps = [m.explain([i.id for i in batch], pixels, whole.argmax(axis=1)) for m in methods.values()]
        plans, shares = [], []
        for number, image in enumerate(pixels):
            for plan, share in _orders(image, [found[number] for found in maps], preprocessing, levels):
                plans.append(plan)
                shares.append(share)
        work = np.array([(p, step) for p in range(len(plans)) for step in range(1, levels + 1)], np.int32)
        answers.append(passes.select(plans, work).reshape(len(pixels), len(methods), 2, levels, -1))
        fractions.append(np.array(shares).reshape(len(pixels), len(methods), 2, levels))
        clean.append(whole)
        labels += [image.labels[0] for image in batch]
        common.say(f"  {len(labels)} images ranked")
    logits, share = np.concatenate(answers), np.concatenate(fractions)

    def samples(chosen: Any, order: int) -> MaskedSamples:
        part = logits[:, chosen, order]
        return MaskedSamples(
            clean=np.concatenate(clean),
            logits=part.reshape(len(part), -1, part.shape[-1]),
            labels=np.array(labels, np.int64),
            perturbed_fraction=share[:, chosen, order].reshape(len(part), -1),
        )

    groups = {"": slice(None)} | {f", {name}": [number] for number, name in enumerate(methods)}
    return {f"{order}{label}": samples(g, k) for label, g in groups.items() for k, order in enumerate(("MoRF", "LeRF"))}


def _orders(
    image: Floats, maps: list[Floats], preprocessing: Any, levels: int
) -> Iterator[tuple[PerturbationPlan, Any]]:
    """Yields the MoRF and the LeRF plan of each map with its λ, one mask in the middle of each level."""
    end = baseline_image(BASELINE, Given(pixels=image, preprocessing=preprocessing))
    for saliency in maps:
        order = pixel_order(saliency)
        middle = ((np.arange(levels) + 0.5) / levels * order.size).round().astype(np.int64)
        counts = np.concatenate([[0], middle])
        for ranking in (order, order[::-1]):
            steps = step_map(ranking, counts, image.shape[1:])
            yield PerturbationPlan(start=image, end=end, step_map=steps, intervals=levels), middle / order.size


def _show(row: dict[str, Any]) -> None:
    beta = row["calibrator"]["parameters"]["inverse_temperatures"]
    common.say(
        f"{row['case']}: clean T = {row['calibrator']['clean_temperature']:.3f}; ReCalX 1/β = "
        f"{', '.join(f'{1 / b:.3f}' for b in beta)}"
    )
    for note in row["calibrator"]["notes"]:
        common.say(note)
    names = ("uncalibrated", "temperature", "recalx")
    for kind, found in row["masks"].items():
        if "," not in kind:
            lines = [
                [
                    f"level {level['level']}",
                    *(interval(*level[n]["kl"].values()) for n in names),
                    *(f"{level[n]['ece']['value']:.3f}" for n in names),
                ]
                for level in found["levels"]
            ]
            columns = ("", *(f"KL {name}" for name in names), *(f"ECE {name}" for name in names))
            common.show(f"{row['case']}, {kind}", columns, lines)
    lines = [
        [kind, measure, which, *(interval(*found["differences"][which][other][measure].values()) for other in OTHERS)]
        for kind, found in row["masks"].items()
        for measure in (MEASURES if "," not in kind else ("kl",))
        for which in ("mean", "worst")
    ]
    columns = ("masks", "measure", "over levels", *(f"recalx − {other}" for other in OTHERS))
    common.show(f"{row['case']}: paired differences", columns, lines)


if __name__ == "__main__":
    main()
