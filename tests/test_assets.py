"""On real networks and pictures: accuracy of the fused graphs, temperatures, and rise against its floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from c2i_fast.calibration.collect import collect_logits
from c2i_fast.calibration.report import fit_report
from c2i_fast.data.images import open_images
from c2i_fast.engines.select import choose_engine
from c2i_fast.export.classifier import export_classifier
from c2i_fast.export.open import GraphOpener
from c2i_fast.models import load_classifier
from c2i_fast.models.preprocess import find_recipe, load_recipe
from c2i_fast.perturb.passes import GraphPasses

pytest.importorskip("onnxruntime", reason="fused graphs are run by onnxruntime")
pytestmark = pytest.mark.slow

NETWORKS = [
    # model, recipe, images, accuracy, the range of the temperature
    ("imagenet/tf2_mobilenet_v2_1.0_224_ptq.onnx", "mobilenet-tf", "imagenet_val/manifest.csv", 0.78, (0.8, 0.92)),
    ("imagenet/squeezenet_v1.1.onnx", "caffe-bgr", "imagenet_val/manifest.csv", 0.73, (0.8, 0.95)),
    ("cifar10/resnet20.onnx", "cifar10-imagenet-stats", "cifar10_test.npz", 0.83, (2.4, 2.8)),
]


@pytest.mark.parametrize(("model", "recipe", "images", "accuracy", "temperatures"), NETWORKS)
def test_fused_graph_keeps_the_accuracy_and_its_temperature_helps(
    assets: Path,
    tmp_path: Path,
    model: str,
    recipe: str,
    images: str,
    accuracy: float,
    temperatures: tuple[float, float],
) -> None:
    raw = load_classifier(assets / "models" / model, preprocessing=load_recipe(find_recipe(recipe)))
    report = export_classifier(raw, tmp_path / "fused.onnx", scorer=False)
    assert report.verify.top1_agreement == 1
    fused = load_classifier(tmp_path / "fused.onnx")
    contract = fused.contract
    source = open_images(
        assets / "images" / images, preprocessing=contract.preprocessing, classes=contract.classes, limit=3000
    )
    config = choose_engine("onnxruntime", passes_elements=contract.elements).config
    passes = GraphPasses(GraphOpener(fused, config), contract, config.batch_size)
    logits, labels, skipped = collect_logits(source, passes)
    assert not skipped
    assert np.mean(logits.argmax(1) == labels) == pytest.approx(accuracy, abs=0.015)
    fitted = fit_report(logits, labels, seed=0).to_dict()
    assert temperatures[0] < fitted["parameters"]["temperature"] < temperatures[1]
    assert fitted["after"]["nll"] < fitted["before"]["nll"]
    assert fitted["nll_change"]["ci95"][1] < 0
