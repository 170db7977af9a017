"""Matrix scaling with off-diagonal and intercept regularisation (ODIR): every class may learn from every logit.

Guo et al.: On Calibration of Modern Neural Networks, ICML 2017. Kull, Perello Nieto, Kängsepp, Silva Filho, Song,
Flach: Beyond temperature scaling, NeurIPS 2019 (the penalty).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from c2i_fast.calibration.affine import Affine, odir_penalty
from c2i_fast.calibration.nodes import Nodes, capped
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir


class Matrix(Affine):
    """The map z → W·z + b. It may change the predicted class.

    `fit` minimises mean NLL + λ·mean_{k≠j} W_kj² + μ·mean_k b_k²: convex, the diagonal unpenalised. Numbers learnt:
    K² + K, so it wants many samples; above 200 classes it refuses.

    Args:
        weight_penalty: λ ≥ 0.
        bias_penalty: μ ≥ 0.

    Example:
        >>> Matrix.from_parameters({"weights": [[1, -1], [0, 1]], "bias": [0, 3]}).transform([[2.0, 0.5]])
        array([[1.5, 3.5]])
    """

    method = "matrix"

    def __init__(self, weight_penalty: float = 0.01, bias_penalty: float = 0.01) -> None:
        self.weight_penalty = weight_penalty
        self.bias_penalty = bias_penalty

    def _penalty(self, classes: int) -> Doubles:
        return odir_penalty(classes, self.weight_penalty, self.bias_penalty)

    @staticmethod
    def _features(logits: ArrayLike, classes: int) -> Doubles:
        return capped(logits, classes)

    @staticmethod
    def _feature_nodes(nodes: Nodes, logits: ir.Value) -> ir.Value:
        return nodes.cap(logits)
