"""Whose class is followed, and what a rule that cannot be kept says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.errors import InputError, UsageError
from c2i_fast.metrics.target import check_rule, check_targets, target_class

CLEAN = np.array([0.1, 2.0, 2.0, -1.0], np.float32)


@pytest.mark.parametrize(
    ("rule", "labels", "given", "expected"),
    [
        ("top1", (), None, 1),  # the first of equals
        ("top1", (3,), 0, 1),
        ("label", (3,), None, 3),
        ("label", (0,), 2, 0),
        ("given", (3,), 2, 2),
        ("0", (3,), 2, 0),
        ("3", (), None, 3),
    ],
)
def test_the_rule_decides_whose_class_is_followed(rule, labels, given, expected):
    assert target_class("a.png", labels, given, CLEAN, rule) == expected


@pytest.mark.parametrize(
    ("rule", "labels", "given", "said"),
    [
        ("label", (), None, "needs one label an image; '?a.png'? has 0"),
        ("label", (1, 2), None, "a.png'? has 2"),
        ("given", (1,), None, "needs `targets` in the .npz; '?a.png'? has none"),
        ("4", (), None, r"target class 4 of .*a.png'? is outside the model's 0\.\.3"),
        ("label", (4,), None, "target class 4"),
        ("label", (-1,), None, "target class -1"),
        ("given", (), 9, "target class 9"),
    ],
)
def test_a_rule_that_cannot_be_kept_names_the_image(rule, labels, given, said):
    with pytest.raises(InputError, match=said):
        target_class("a.png", labels, given, CLEAN, rule)


def source(labels=None, targets=None) -> SimpleNamespace:
    return SimpleNamespace(ids=["a.png", "b.png"], labels=labels, targets=targets)


@pytest.mark.parametrize(
    ("rule", "images"),
    [
        ("top1", source()),
        ("label", source([(0,), (3,)])),
        ("given", source(targets=[1, 2])),
        ("0", source()),
        ("3", source()),
    ],
)
def test_rules_that_every_image_can_keep_pass_before_any_pass(rule, images):
    check_targets(rule, images, 4)


@pytest.mark.parametrize(
    ("rule", "images", "said"),
    [
        ("4", source(), "--target 4 is not one of the model's classes, 0 to 3"),
        ("label", source(), "--target label needs labels, and the images have none"),
        ("label", source([(0,), ()]), "needs one label an image; b.png has 0"),
        ("label", source([(0, 1), (2,)]), "a.png has 2"),
        ("given", source(labels=[(0,), (1,)]), "--target given needs `targets`"),
    ],
)
def test_rules_that_some_image_cannot_keep_are_refused_before_any_pass(rule, images, said):
    with pytest.raises(InputError, match=said):
        check_targets(rule, images, 4)


@pytest.mark.parametrize("rule", ["top1", "label", "given", "0", "999"])
def test_rules_that_are_ones(rule):
    assert check_rule(rule) == rule


@pytest.mark.parametrize("rule", ["", "top5", "-1", "1.0", "Label", "two", " 1"])
def test_rules_that_are_none(rule):
    with pytest.raises(UsageError, match="--target must be top1, label, given or a class index"):
        check_rule(rule)
