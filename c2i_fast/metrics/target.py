"""Which class is followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from c2i_fast.errors import InputError, UsageError
from c2i_fast.types import Activation, Floats

if TYPE_CHECKING:
    from c2i_fast.data.source import ImageSource

RULES = ("top1", "label", "given")


def is_index(text: str) -> bool:
    """Returns whether a text is a whole number in the digits 0 to 9, short enough to be one of anything.

    Example:
        >>> is_index("17"), is_index("²"), is_index("-1")
        (True, False, False)
    """
    return text.isascii() and text.isdecimal() and len(text) < 10


def check_rule(rule: str) -> str:
    """Returns a target rule if it is one: `top1`, `label`, `given` or a class index in digits."""
    if rule not in RULES and not is_index(rule):
        raise UsageError(f"--target must be top1, label, given or a class index, got {rule!r}")
    return rule


def check_targets(
    rule: str,
    source: ImageSource,
    classes: int,
    *,
    activation: Activation = "softmax",
    on_error: Literal["stop", "skip"] = "stop",
) -> None:
    """Checks, before any pass, that every image of a source has the target that the rule asks for.

    Under a sigmoid head `label` takes any number of labels; images without one are left to `on_error`.

    Raises:
        InputError: No label, several, no target, or a class that is not one of the model's.
    """
    if is_index(rule) and int(rule) >= classes:
        raise InputError(f"--target {rule} is not one of the model's classes, 0 to {classes - 1}")
    if rule == "label":
        if source.labels is None:
            raise InputError(
                "--target label needs labels, and the images have none; give a sub-folder per class, a CSV with "
                "file,label, or `labels` in the .npz"
            )
        pairs = zip(source.ids, source.labels, strict=True)
        if activation == "sigmoid":
            bare = [image for image, own in pairs if not own]
            if bare and (on_error == "stop" or len(bare) == len(source)):
                raise InputError(
                    f"--target label: {len(bare)} of {len(source)} images have no label to follow, {bare[0]} among "
                    "them; leave such images out with --on-error skip, or follow --target top1 or a class index"
                )
            return
        several = next(((i, len(own)) for i, own in pairs if len(own) != 1), None)
        if several is not None:
            raise InputError(f"--target label needs one label an image; {several[0]} has {several[1]}")
    if rule == "given" and source.targets is None:
        raise InputError("--target given needs `targets` in the .npz of the images; there are none")


def target_classes(
    image: str, labels: Sequence[int], given: int | None, clean: Floats, rule: str, activation: Activation
) -> tuple[int, ...]:
    """Returns the classes to follow on one image: one, or under a sigmoid head and the rule `label` each of its labels.

    Arguments and errors are those of `target_class`.

    Example:
        >>> import numpy as np
        >>> target_classes("a.png", (0, 2), None, np.zeros(3, np.float32), "label", "sigmoid")
        (0, 2)
    """
    if rule != "label" or activation == "softmax":
        return (target_class(image, labels, given, clean, rule),)
    if not labels:
        raise InputError(f"--target label needs a label, and {image!r} has none")
    return tuple(target_class(image, (label,), given, clean, rule) for label in labels)


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
        raise InputError(f"--target label needs one label an image; {image!r} has {len(labels)}")
    if rule == "given" and given is None:
        raise InputError(f"--target given needs `targets` in the .npz; {image!r} has none")
    target = labels[0] if rule == "label" else given if rule == "given" else int(rule)
    assert target is not None
    if not 0 <= target < len(clean):
        raise InputError(f"target class {target} of image {image!r} is outside the model's 0..{len(clean) - 1}")
    return target
