"""The how-to works as written: its files, as they stand, become metrics that are scored."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.metrics import METRICS
from c2i_fast.score import score_stream
from tests import nets
from tests.test_score import make_task

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to-add-a-metric.md"
FILES = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), flags=re.S)


@pytest.fixture
def added(monkeypatch):
    """The metrics of the how-to, registered and forgotten again."""
    before = {name: dict(getattr(METRICS, name)) for name in ("_entries", "_summaries")}
    for number, text in enumerate(FILES):
        assert len([line for line in text.splitlines() if line.strip()]) <= 40
        module = type(sys)(f"how_to_{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(text, f"{HOW_TO}#{number}", "exec"), module.__dict__)
    yield
    for name, content in before.items():
        getattr(METRICS, name).clear()
        getattr(METRICS, name).update(content)


def test_the_files_of_the_how_to_are_metrics_as_they_stand(added):
    assert len(FILES) == 2
    rng = np.random.default_rng(0)
    images = MemoryImages(rng.random((2, 3, 6, 5)).astype(np.float32))
    saliency = rng.permutation(30).reshape(1, 6, 5).repeat(2, axis=0).astype(np.float32)
    passes = nets.NumpyPasses(nets.smooth_function((3, 6, 5), seed=4))
    task = make_task(("half-life", "top-tenth", "deletion"), overrides={"intervals": "10"})
    (part,) = score_stream(images.stream(), memory_maps({"m": saliency}, images.ids), passes, task)
    for image in part.images:
        by_metric = {row.metric: row for row in image.scores}
        curve = by_metric["deletion"].curve
        below = [x for x, v in zip(curve.fractions, curve.values, strict=True) if v <= curve.values[0] / 2]
        assert by_metric["half-life"].value == (below[0] if below else 1.0)
        # a tenth of 30 pixels is what one step of ten intervals removes: the very same pass
        assert by_metric["top-tenth"].value == curve.values[0] - curve.values[1]
        assert image.plan.passes == 11


def test_what_the_how_to_added_is_gone_again():
    assert not {"half-life", "top-tenth"} & set(METRICS)
