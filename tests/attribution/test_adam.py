from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution.adam import RowAdam

torch = pytest.importorskip("torch")


def test_each_row_is_torchs_adam_until_it_ends():
    """Row 1 ends after five steps: it stays where it is and the others go on as if alone."""
    start = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 4)))
    rows, adam = start.clone(), None
    adam = RowAdam(rows, 0.3)
    for step in range(12):
        active = np.array([0, 1, 2] if step < 5 else [0, 2])
        adam.climb(-2 * rows[active] * torch.arange(1, 5), active)  # up −Σ k·x_k²
    for row, steps in enumerate((12, 5, 12)):
        alone = start[row].clone().requires_grad_()
        theirs = torch.optim.Adam([alone], lr=0.3)
        for _ in range(steps):
            theirs.zero_grad()
            (alone**2 * torch.arange(1, 5)).sum().backward()
            theirs.step()
        np.testing.assert_allclose(rows[row], alone.detach(), atol=1e-12)
