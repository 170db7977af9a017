from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from c2i_fast.bench.parity import check_parity, probabilities, sample_work
from c2i_fast.bench.scoring import scoring_task, smooth_noise
from c2i_fast.errors import ContractError
from c2i_fast.export.open import GraphOpener
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses
from c2i_fast.types import EngineConfig

CONFIG = EngineConfig(engine="onnxruntime", threads=1, batch_size=8)


class Broken:
    """An engine that answers something else."""

    def __init__(self, session, change):
        self.session, self.change, self.config = session, change, session.config

    def run(self, feeds):
        return {name: self.change(value) for name, value in self.session.run(feeds).items()}


def scaled(tiny, factor):
    """The tiny net with its last layer shrunk."""
    model = tiny.backbone().clone()
    matrix = model.graph.initializers["matrix"]
    matrix.const_value = ir.tensor(matrix.const_value.numpy() * np.float32(factor), name="matrix")
    return replace(tiny, backbone=lambda: model)


def parity(tiny, *, broken="", change=None, precision="fp32"):
    """The check of the tiny net's graphs, one kind of which may be broken."""
    opener = GraphOpener(tiny, CONFIG)

    def open_session(kind, step_type):
        session = opener(kind, step_type)
        return Broken(session, change) if kind == broken else session

    return check_parity(
        GraphPasses(open_session, tiny.contract, 8),
        ReferencePasses(opener, tiny.contract, 8),
        list(smooth_noise(32, (3, 16, 16), seed=0)),
        list(smooth_noise(32, (1, 16, 16), seed=1)[:, 0]),
        scoring_task(tiny.contract, None).protocols,
        precision=precision,
        reference_name="onnxruntime fp32",
    )


def test_graphs_that_agree_pass(tiny):
    found = parity(tiny)
    assert found.max_abs_dprob <= 1e-6
    assert (found.images, found.passes, found.tolerance) == (32, 64, 1e-4)
    assert found.precision_used == "fp32"


@pytest.mark.parametrize("broken", ["select", "fused"])
def test_a_wrong_answer_stops_everything(tiny, broken):
    with pytest.raises(ContractError, match="nothing is timed: probabilities differ"):
        parity(tiny, broken=broken, change=lambda z: z * np.float32(1.01))


@pytest.mark.parametrize("broken", ["select", "fused"])
def test_a_network_whose_probabilities_hardly_move_is_still_checked(tiny, broken):
    flat = scaled(tiny, 1e-6)
    assert parity(flat).max_abs_dprob < 1e-6
    with pytest.raises(ContractError, match="of their range"):
        parity(flat, broken=broken, change=lambda z: z[..., ::-1].copy())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numbers_that_are_none_stop_everything_in_any_precision(tiny, bad, precision):
    def spoil(logits):
        spoilt = logits.copy()
        spoilt.flat[0] = bad
        return spoilt

    with pytest.raises(ContractError, match="logits of the scorer graph are NaN or infinite"):
        parity(tiny, broken="select", change=spoil, precision=precision)


def test_low_precision_is_reported_and_not_refused(tiny):
    found = parity(tiny, broken="fused", change=lambda z: z * np.float32(1.2), precision="bf16")
    assert found.max_abs_dprob > 1e-3
    assert (found.tolerance, found.precision_used) == (None, "bf16")
    assert found.max_abs_dprob == max(found.scorer, found.engine)


def test_a_low_precision_that_answers_in_fp32_is_found_out(tiny):
    assert parity(tiny, precision="bf16").precision_used == "fp32"


def test_the_sample_holds_two_passes_of_each_image(tiny):
    images, maps = smooth_noise(3, (3, 16, 16), seed=0), smooth_noise(3, (1, 16, 16), seed=1)[:, 0]
    plans, work = sample_work(
        list(images), list(maps), scoring_task(tiny.contract, None).protocols, tiny.contract.preprocessing
    )
    assert work.shape == (6, 2)
    assert len(plans) == 9  # deletion, insertion and deletion-lerf of each
    assert sorted(work[:, 0] // 3) == [0, 0, 1, 1, 2, 2]
    assert all(0 <= step <= plans[plan].intervals for plan, step in work)


def test_probabilities_are_softmax_or_sigmoid():
    logits = np.array([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(probabilities(logits, "softmax"), [[0.25, 0.75]], atol=1e-7)
    np.testing.assert_allclose(probabilities(logits, "sigmoid"), [[0.5, 0.75]], atol=1e-7)
