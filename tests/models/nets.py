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


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride = 1 if before == after else 2
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, self.stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.stride == 2:
            padding = (y.shape[1] - x.shape[1]) // 2
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, padding, padding))
        return torch.relu(x + y)


class CifarResNet(nn.Module):
    """The ResNet of the CIFAR experiments: three layers of blocks, channels padded where they double."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for index, (before, after) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            layer = nn.Sequential(*[_Block(before if i == 0 else after, after) for i in range(blocks)])
            self.add_module(f"layer{index}", layer)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet20() -> CifarResNet:
    """The network of `resnet20.safetensors`, as a MODEL `tests.models.nets:resnet20 --weights …`."""
    return CifarResNet(3)


def resnet56() -> CifarResNet:
    """The network of `resnet56.safetensors`."""
    return CifarResNet(9)
