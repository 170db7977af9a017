"""Which class is followed."""

from __future__ import annotations

from collections.abc import Sequence

from c2i_fast.errors import InputError, UsageError
from c2i_fast.types import Floats

RULES = ("top1", "label", "given")


def check_rule(rule: str) -> str:
    """Returns a target rule if it is one: `top1`, `label`, `given` or a class index in digits."""
    if rule not in RULES and not rule.isdecimal():
        raise UsageError(f"--target must be top1, label, given or a class index, got {rule!r}")
    return rule


def target_class(image: str, labels: Sequence[int], given: int | None, clean: Floats, rule: str) -> int:
    """Returns the class to follow on one image.

    Args:
        image: its id, for errors.
        labels: what its source says; `label` needs exactly one.
        given: its target, where an .npz has `targets`.
        clean: raw logits (K,) of the unperturbed image; `top1` is their argmax, the first of equals.
        rule: `top1`, `label`, `given` or a class index.

    Raises:
        InputError: The rule asks for what the image has not, or the class is not one of the model's.

    Example:
        >>> import numpy as np
        >>> target_class("a.png", (), None, np.array([0.1, 2.0], np.float32), "top1")
        1
    """
    if rule == "top1":
        return int(clean.argmax())
    if rule == "label" and len(labels) != 1:
        raise InputError(f"--target label needs one label an image; {image} has {len(labels)}")
    if rule == "given" and given is None:
        raise InputError(f"--target given needs `targets` in the .npz; {image} has none")
    target = labels[0] if rule == "label" else given if rule == "given" else int(rule)
    assert target is not None
    if not 0 <= target < len(clean):
        raise InputError(f"target class {target} of {image} is outside the model's 0..{len(clean) - 1}")
    return target
