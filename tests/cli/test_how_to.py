"""The Python of the how-to is run, on a run with everything beside its parts that may lie there."""

from __future__ import annotations

import re

from tests.cli.things import ROOT, done


def test_reading_a_run(net, npz, maps, cal, tmp_path, monkeypatch):
    options = ("--images", npz, "--maps", maps, "--keep-logits", "--part-passes", "300", "--quiet")
    done("score", net, *options, "--out", tmp_path / "run")
    done("rescore", tmp_path / "run", "--calibrator", cal)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "how-to-score.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(block, names)
    assert names["table"].num_rows == 12 * 3
