from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from c2i_fast.bench.environment import cpu_flags, cpu_model, environment
from c2i_fast.bench.parity import Parity
from c2i_fast.bench.raw import RawRow
from c2i_fast.bench.report import (
    RAW_COLUMNS,
    SCORING_COLUMNS,
    BenchReport,
    notes,
    raw_rows,
    recommend,
    scoring_rows,
    summary,
)
from c2i_fast.bench.scoring import ScoringFigures


def report(engine="onnxruntime", rate=100.0, precision="fp32", **changes):
    parity = Parity(
        max_abs_dprob=1e-6,
        scorer=0.0,
        engine=1e-6,
        dlogit_share=1e-6,
        images=32,
        passes=64,
        tolerance=1e-4,
        reference="onnxruntime fp32",
        precision_used=precision,
    )
    scoring = ScoringFigures(
        passes_per_s=rate,
        efficiency=rate / 200,
        raw_images_per_s=200.0,
        raw_batch=8,
        batch=32,
        images=4,
        passes=256,
        runs=4,
    )
    made = BenchReport(
        engine=engine,
        precision=precision,
        raw=(RawRow.of(1, np.array([0.01])), RawRow.of(8, np.array([0.04]))),
        scoring=scoring,
        parity=parity,
        environment={"precision_used": precision, "busy_elsewhere": 0.0},
    )
    return replace(made, **changes)


def test_the_keys_are_those_promised():
    content = json.loads(json.dumps(report().to_dict()))
    assert list(content) == ["engine", "precision", "raw", "scoring", "parity", "environment"]
    assert {"batch", "images_per_s", "p50_ms", "p90_ms", "p99_ms"} <= set(content["raw"][0])
    assert {"passes_per_s", "efficiency"} <= set(content["scoring"])
    assert "max_abs_dprob" in content["parity"]


def test_of_several_engines_the_fastest_at_scoring_comes_first():
    reports = [report("onnxruntime", 100.0), report("openvino", 120.0), report("torch", 50.0)]
    assert recommend(reports).engine == "openvino"
    content = summary(reports)
    assert content["engine"] == "openvino"
    assert [entry["engine"] for entry in content["engines"]] == ["onnxruntime", "openvino", "torch"]


def test_one_engine_stands_alone():
    assert "engines" not in summary([report()])
    assert set(summary([report()])["includes"]) == {"raw", "scoring"}


def test_the_tables_have_a_row_for_each_number():
    reports = [report("onnxruntime"), report("openvino")]
    assert raw_rows(reports)[1] == ["onnxruntime fp32", "8", "200.0", "40.00", "40.00", "40.00"]
    assert scoring_rows(reports)[0] == ["onnxruntime fp32", "32", "100.0", "200.0", "0.500", "1.0e-06"]
    assert {len(row) for row in raw_rows(reports)} == {len(RAW_COLUMNS)}
    assert {len(row) for row in scoring_rows(reports)} == {len(SCORING_COLUMNS)}


def at_its_best_batch():
    return report(scoring=replace(report().scoring, batch=8))


def test_nothing_is_said_where_nothing_is_odd():
    assert notes([at_its_best_batch()]) == []


def test_the_fastest_engine_and_a_better_batch_are_named():
    said = notes([report("onnxruntime", 100.0), report("openvino", 120.0)])
    assert said == [
        "fastest at scoring: --engine openvino",
        "openvino alone is fastest at batch 8, scoring took 32; try --batch-size 8",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "bf16", "environment": {"precision_used": "fp32"}}, "asked for bf16, but its answers are fp32"),
        ({"environment": {"precision_used": "fp32", "busy_elsewhere": 0.5}}, "took 50% of the machine"),
        (
            {
                "precision": "bf16",
                "parity": replace(report().parity, max_abs_dprob=0.3),
                "environment": {"precision_used": "bf16"},
            },
            "0.30 to onnxruntime fp32",
        ),
    ],
)
def test_what_is_odd_is_said(changes, said):
    assert [said in line for line in notes([replace(at_its_best_batch(), **changes)])] == [True]


def test_the_environment_names_machine_and_versions():
    found = environment(2, "fp32")
    assert {"date", "cpu", "cores", "threads", "precision_used", "versions"} <= set(found)
    assert {"python", "numpy"} <= set(found["versions"])
    assert found["threads"] == 2
    assert json.dumps(found)


def test_an_unreadable_cpu_is_named_by_the_platform(monkeypatch, tmp_path):
    monkeypatch.setattr("c2i_fast.bench.environment.CPU_INFO", tmp_path / "absent")
    assert cpu_model()
    assert cpu_flags() == []


def test_the_cpu_is_read_from_its_own_books(monkeypatch, tmp_path):
    books = tmp_path / "cpuinfo"
    books.write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor\t: 1\n")
    monkeypatch.setattr("c2i_fast.bench.environment.CPU_INFO", books)
    assert (cpu_model(), cpu_flags()) == ("Some CPU", ["avx2", "amx_bf16"])
