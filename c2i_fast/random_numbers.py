"""Random numbers that depend on what they are for, never on when they are drawn."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def generator(seed: int, method: str, image_id: str | None, index: int = 0) -> np.random.Generator:
    """Returns a counter-based generator (Philox) keyed by the arguments and nothing else.

    The key is the head of SHA-256 over the four values, so batch size, order and chunking cannot reach the numbers,
    and neighbouring seeds or images share nothing.

    Args:
        seed: of the run.
        method: name of the saliency method or mask law.
        image_id: None where one set is shared by all images (RISE).
        index: which of several streams of one image.

    Example:
        >>> generator(0, "random", "a.png").random() == generator(0, "random", "a.png").random()
        True
    """
    key = hashlib.sha256(json.dumps([int(seed), method, image_id, int(index)]).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
