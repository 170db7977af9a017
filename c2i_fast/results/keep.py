"""Kept logits: with them, a later calibrator costs no pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from c2i_fast.perturb.plan import Request
from c2i_fast.protocols import Protocol
from c2i_fast.results.run import read_table
from c2i_fast.score import ScoredImage
from c2i_fast.types import Floats

LOGITS = ("image", "perturbed_fraction", "logits")
REQUESTS = ("image", "method", "metric", "protocols", "target", "x", "passes", "lengths", "warnings")


def logits_table(images: Sequence[ScoredImage]) -> pa.Table:
    """Returns one row for each pass: `image`, `perturbed_fraction`, `logits` float32 (K)."""
    if not images:
        return pa.table({"image": [], "perturbed_fraction": [], "logits": []})
    logits = np.concatenate([scored.logits for scored in images if scored.logits is not None])
    return pa.table(
        {
            "image": np.repeat([s.image.id for s in images], [s.plan.passes for s in images]),
            "perturbed_fraction": np.concatenate([s.plan.perturbed_fraction for s in images]),
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1]),
        }
    )


def requests_table(images: Sequence[ScoredImage]) -> pa.Table:
    """Returns one row for each request and target: its protocols by hash, its x, and which passes it is made of."""
    rows = [(s, request, target) for s in images for target in s.targets for request in s.plan.requests]
    return pa.table(
        {
            "image": [s.image.id for s, _, _ in rows],
            "method": [r.method for _, r, _ in rows],
            "metric": [r.metric for _, r, _ in rows],
            "protocols": pa.array([[p.hash() for p in r.protocols] for _, r, _ in rows], pa.list_(pa.string())),
            "target": pa.array([target for _, _, target in rows], pa.int32()),
            "x": pa.array([r.x for _, r, _ in rows], pa.list_(pa.float64())),
            "passes": pa.array([r.passes for _, r, _ in rows], pa.list_(pa.int32())),
            "lengths": pa.array([list(r.lengths) for _, r, _ in rows], pa.list_(pa.int32())),
            "warnings": pa.array([list(r.warnings) for _, r, _ in rows], pa.list_(pa.string())),
        }
    )


KeptImage = tuple[str, tuple[int, ...], list[Request], Floats, np.ndarray]
"""(image id, targets, requests, logits (P, K), perturbed fractions (P,))."""


def read_kept(logits_path: Path, requests_path: Path, protocols: Mapping[str, Protocol]) -> Iterator[KeptImage]:
    """Yields the images of one part; `protocols` are the run's, by hash."""
    logits = read_table(logits_path, LOGITS)
    if not len(logits):  # a part of skipped images alone
        return
    ids = np.asarray(logits["image"].to_pylist())
    fractions = logits["perturbed_fraction"].to_numpy()
    flat = logits["logits"].combine_chunks()
    values = flat.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), -1)
    requests: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(requests_path, REQUESTS).to_pylist():
        requests.setdefault(row["image"], []).append(row)
    for image, rows in requests.items():
        mine = ids == image
        targets = tuple(dict.fromkeys(row["target"] for row in rows))
        mine_once = [_request(row, protocols) for row in rows if row["target"] == targets[0]]
        yield image, targets, mine_once, values[mine], fractions[mine]


def _request(row: Mapping[str, Any], protocols: Mapping[str, Protocol]) -> Request:
    return Request(
        method=row["method"],
        metric=row["metric"],
        protocols=tuple(protocols[key] for key in row["protocols"]),
        x=np.asarray(row["x"], np.float64),
        passes=np.asarray(row["passes"], np.int32),
        lengths=tuple(row["lengths"]),
        warnings=tuple(row["warnings"]),
    )
