"""Logits with a known flaw, for every test of this folder."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def overconfident():
    """A function N, K, seed → logits and labels of a network whose true temperature is 2.5."""

    def make(samples=400, classes=5, seed=0):
        rng = np.random.default_rng(seed)
        true = rng.normal(scale=1.5, size=(samples, classes))
        labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)  # a draw from softmax(true)
        return (2.5 * true).astype(np.float32), labels

    return make
