"""Kept logits: with them, a later calibrator costs no pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from c2i_fast.perturb.plan import CurveRequest
from c2i_fast.results.run import read_table
from c2i_fast.score import ScoredImage
from c2i_fast.types import CurveProtocol, Floats

LOGITS = ("image", "perturbed_fraction", "logits")
CURVES = ("image", "method", "metric", "target", "fractions", "passes", "warnings")


def logits_table(images: Sequence[ScoredImage]) -> pa.Table:
    """Returns one row for each pass: `image`, `perturbed_fraction`, `logits` float32 (K)."""
    if not images:
        return pa.table({"image": [], "perturbed_fraction": [], "logits": []})
    logits = np.concatenate([scored.logits for scored in images if scored.logits is not None])
    return pa.table(
        {
            "image": np.repeat([s.image.id for s in images], [len(s.plan.work) for s in images]),
            "perturbed_fraction": np.concatenate([s.plan.perturbed_fraction for s in images]),
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1]),
        }
    )


def curves_table(images: Sequence[ScoredImage]) -> pa.Table:
    """Returns one row for each curve and target: its protocol by hash, its x, and which passes it is made of."""
    rows = [(s, curve, target) for s in images for target in s.targets for curve in s.plan.curves]
    return pa.table(
        {
            "image": [s.image.id for s, _, _ in rows],
            "method": [c.method for _, c, _ in rows],
            "metric": [c.protocol.metric for _, c, _ in rows],
            "target": pa.array([target for _, _, target in rows], pa.int32()),
            "fractions": [c.fractions for _, c, _ in rows],
            "passes": [c.passes for _, c, _ in rows],
            "warnings": pa.array([list(c.warnings) for _, c, _ in rows], pa.list_(pa.string())),
        }
    )


KeptImage = tuple[str, tuple[int, ...], list[CurveRequest], Floats, np.ndarray]
"""(image id, targets, curves, logits (P, K), perturbed fractions (P,))."""


def read_kept(logits_path: Path, curves_path: Path, protocols: dict[str, CurveProtocol]) -> Iterator[KeptImage]:
    """Yields the images of one part; `protocols` are the run's, by curve name."""
    logits = read_table(logits_path, LOGITS)
    if not len(logits):  # a part of skipped images alone
        return
    ids = np.asarray(logits["image"].to_pylist())
    fractions = logits["perturbed_fraction"].to_numpy()
    flat = logits["logits"].combine_chunks()
    values = flat.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), -1)
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(curves_path, CURVES).to_pylist():
        curves.setdefault(row["image"], []).append(row)
    for image, rows in curves.items():
        mine = ids == image
        targets = tuple(dict.fromkeys(row["target"] for row in rows))
        requests = [_curve(row, protocols) for row in rows if row["target"] == targets[0]]
        yield image, targets, requests, values[mine], fractions[mine]


def _curve(row: dict[str, Any], protocols: dict[str, CurveProtocol]) -> CurveRequest:
    return CurveRequest(
        method=row["method"],
        protocol=protocols[row["metric"]],
        fractions=np.asarray(row["fractions"]),
        passes=np.asarray(row["passes"], np.int32),
        warnings=tuple(row["warnings"]),
    )
