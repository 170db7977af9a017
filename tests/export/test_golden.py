"""The fused and the scorer graph as text: what a reviewer can read, and what must not change unnoticed.

After an intended change: `python -m tests.export.test_golden` writes the files anew, and the diff is reviewed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.tape import Tape

from c2i_fast.calibration.recalx import ReCalX
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.export.graphs import fused_graph, scorer_graph
from c2i_fast.types import Preprocessing
from tests.nets import classifier

GOLDEN = Path(__file__).resolve().parents[2] / "export" / "golden"


def _network(tape: Tape, pixels: ir.Value) -> ir.Value:
    """A 1×1 convolution and a mean over the picture: three scores."""
    weight = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1) / 8
    scores = tape.op("Conv", [pixels, tape.initializer(ir.tensor(weight, name="weight"), "weight")])
    return tape.op("Flatten", [tape.op("GlobalAveragePool", [scores])])


def texts() -> dict[str, str]:
    """The graphs of a network with everything a prologue and a head can hold."""
    prep = Preprocessing(mean=(0.5, 0.25, 0.75), std=(0.5,), bgr=True, drop_class=1)
    made = classifier(_network, 3, (4, 4), 3, preprocessing=prep)
    calibrator = Temperature.from_parameters({"temperature": 2.0})
    two = {"levels": 2, "inverse_temperatures": [0.5, 0.25], "at_bound": [None, None], "samples": [9, 9]}
    recalx = ReCalX.from_parameters({**two, "baseline": "mean", "mask_law": None})
    graphs = {
        "fused": fused_graph(made.backbone(), made.contract, calibrator),
        "scorer": scorer_graph(made.backbone(), made.contract, calibrator),
        "fused-recalx": fused_graph(made.backbone(), made.contract, recalx),
        "scorer-recalx": scorer_graph(made.backbone(), made.contract, recalx),
    }
    return {name: ir.to_onnx_text(graph) + "\n" for name, graph in graphs.items()}


@pytest.mark.parametrize("name", ["fused", "scorer", "fused-recalx", "scorer-recalx"])
def test_the_graph_is_the_golden_one(name: str) -> None:
    assert texts()[name] == (GOLDEN / f"{name}.onnxtxt").read_text(encoding="utf-8")


if __name__ == "__main__":
    for stem, text in texts().items():
        (GOLDEN / f"{stem}.onnxtxt").write_text(text, encoding="utf-8")
