from __future__ import annotations

import pytest

from c2i_fast.bench import TimingRules, run_bench
from c2i_fast.bench import run as bench_run
from c2i_fast.engines.select import choose_engine, installed
from c2i_fast.errors import ContractError

QUICK = TimingRules(seconds=0.02, iterations=2, warm_up_seconds=0.0, warm_up_iterations=1, turns=2)


def choices(*engines, precision="fp32"):
    return [choose_engine(engine, precision=precision, threads=1, batch_size=8) for engine in engines]


def test_a_tiny_net_from_beginning_to_end(tiny):
    said = []
    (found,) = run_bench(tiny, choices("onnxruntime"), (1, 4), QUICK, say=said.append)
    assert (found.engine, found.precision) == ("onnxruntime", "fp32")
    assert [row.batch for row in found.raw] == [1, 4]
    assert all(row.images_per_s > 0 and row.p50_ms <= row.p90_ms <= row.p99_ms for row in found.raw)
    assert found.scoring.passes_per_s > 0
    assert found.scoring.passes == 64 * found.scoring.images
    assert found.scoring.runs >= 2
    assert found.scoring.efficiency == pytest.approx(found.scoring.passes_per_s / found.scoring.raw_images_per_s)
    assert found.parity.max_abs_dprob < 1e-4
    assert found.environment["threads"] == 1
    assert said[0].startswith("parity onnxruntime fp32")


@pytest.mark.skipif(not installed("openvino"), reason="openvino is not installed")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_beside_it(tiny, precision):
    engines = ("onnxruntime", "openvino") if precision == "fp32" else ("openvino",)
    reports = run_bench(tiny, choices(*engines, precision=precision), (4,), QUICK)
    assert [report.engine for report in reports] == list(engines)
    assert reports[-1].parity.reference == "onnxruntime fp32"


def test_nothing_is_timed_when_the_answers_differ(tiny, monkeypatch):
    class Wrong(bench_run.ReferencePasses):
        def select(self, plans, work):
            return super().select(plans, work) * 2

    def never(*args, **kwargs):
        raise AssertionError("timed although parity failed")

    monkeypatch.setattr(bench_run, "ReferencePasses", Wrong)
    monkeypatch.setattr(bench_run, "sweep", never)
    (choice,) = choices("openvino") if installed("openvino") else choices("onnxruntime")
    if choice.config.engine == "onnxruntime":
        pytest.skip("needs an engine other than the reference")
    with pytest.raises(ContractError, match="nothing is timed"):
        run_bench(tiny, [choice], (1,), QUICK)
