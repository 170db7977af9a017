"""Dirichlet calibration: matrix scaling on log-probabilities, under two penalties.

Kull, Perello Nieto, Kängsepp, Silva Filho, Song, Flach: Beyond temperature scaling: Obtaining well-calibrated
multi-class probabilities with Dirichlet calibration, NeurIPS 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.affine import Affine, odir_penalty
from c2i_fast.calibration.nodes import Nodes, capped_log_softmax
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

# Of the smallest positive float64, where log p is cut by custom; p of logits within ±80 are not near it.
LOWEST_LOG = -708.0


class _Dirichlet(Affine):
    @staticmethod
    def _features(logits: ArrayLike, classes: int) -> Doubles:
        return np.maximum(capped_log_softmax(logits, classes), LOWEST_LOG)

    @staticmethod
    def _feature_nodes(nodes: Nodes, logits: ir.Value) -> ir.Value:
        return nodes.op("Max", nodes.log_softmax(nodes.cap(logits)), nodes.constant("lowest_log", LOWEST_LOG))


class DirichletODIR(_Dirichlet):
    """The map z → W·log softmax(z) + b under off-diagonal and intercept regularisation. The predicted class may change.

    `fit` minimises mean NLL + λ·mean_{k≠j} W_kj² + μ·mean_k b_k²: convex. Above 200 classes it refuses.

    Args:
        weight_penalty: λ ≥ 0.
        bias_penalty: μ ≥ 0.

    Example:
        >>> calibrator = DirichletODIR.from_parameters({"weights": [[1, 0], [0, 1]], "bias": [0, 3]})
        >>> calibrator.transform([[2.0, 0.0]]).round(6)
        array([[-0.126928,  0.873072]])
    """

    method = "dirichlet-odir"

    def __init__(self, weight_penalty: float = 0.01, bias_penalty: float = 0.01) -> None:
        self.weight_penalty = weight_penalty
        self.bias_penalty = bias_penalty

    def _penalty(self, classes: int) -> Doubles:
        return odir_penalty(classes, self.weight_penalty, self.bias_penalty)


class DirichletL2(_Dirichlet):
    """The map z → W·log softmax(z) + b with every weight and bias penalised. The predicted class may change.

    `fit` minimises mean NLL + λ·(Σ W_kj² + Σ b_k²) with the last class's row held at 0, the reference the others are
    relative to: the calibrator of Scafarto et al.: Calibrate to Interpret, ECML PKDD 2022. Above 200 classes it
    refuses.

    Args:
        penalty: λ ≥ 0; 0.01 there.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> DirichletL2(penalty=0.0).fit(logits, labels).transform([[2.0, 0.0]]).round(4)  # log 3
        array([[1.0986, 0.    ]])
    """

    method = "dirichlet-l2"

    def __init__(self, penalty: float = 0.01) -> None:
        self.penalty = penalty

    def _penalty(self, classes: int) -> Doubles:
        return np.full((classes, classes + 1), self.penalty, dtype=np.float64)

    def _fixed_rows(self) -> int:
        return 1
