"""Calibrated classifiers in one ONNX graph, and perturbation metrics of saliency at engine speed.

Importing this package imports NumPy and nothing heavier; engines and frameworks are loaded by what uses them.
"""

from c2i_fast.errors import C2IError
from c2i_fast.memory import Scores, score
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import (
    Calibrator,
    Curve,
    EngineConfig,
    GraphContract,
    MaskedPasses,
    PerturbationPlan,
    Preprocessing,
    Score,
)

__version__ = "0.1.0"

__all__ = [
    "C2IError",
    "Calibrator",
    "Curve",
    "CurveProtocol",
    "EngineConfig",
    "GraphContract",
    "MaskedPasses",
    "PerturbationPlan",
    "Preprocessing",
    "Score",
    "Scores",
    "score",
]
