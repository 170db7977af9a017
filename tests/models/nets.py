"""Tiny torch networks of every kind a user might bring. Importing this imports torch."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

CLASSES = 5


def small(channels: int = 3, classes: int = CLASSES) -> nn.Module:
    """A convolutional net with batch statistics and dropout, so that training mode shows."""
    torch.manual_seed(0)
    layers = [
        ("conv", nn.Conv2d(channels, 4, 3)),
        ("norm", nn.BatchNorm2d(4)),
        ("relu", nn.ReLU()),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("drop", nn.Dropout()),
        ("head", nn.Linear(4, classes)),
    ]
    net = nn.Sequential(OrderedDict(layers))
    net.norm.running_mean.uniform_(-1, 1)
    return net


def signal() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, CLASSES))


class Wrapped(nn.Module):
    """`small` with something done to its answer."""

    def __init__(self, change: object) -> None:
        super().__init__()
        self.net, self.change = small(), change

    def forward(self, images: torch.Tensor) -> object:
        return self.change(self.net(images))


class Branching(nn.Module):
    """A branch on the data, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images) if images.sum() > 0 else -self.net(images)
