"""Which point of a stored picture each place of the network's input shows: what resizing and cropping did to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2i_fast.types import Doubles, Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A stored picture of size `stored` is resized to `cover`, and `space` is cut out of that, beginning at `corner`.

    Attributes:
        stored, cover, corner, space: (H, W), or (T,) for signals.
    """

    stored: tuple[int, ...]
    cover: tuple[int, ...]
    corner: tuple[int, ...]
    space: tuple[int, ...]

    def points(self) -> tuple[Doubles, ...]:
        """Returns, per axis, the stored coordinate that the centre of each place shows; pixel i covers [i, i + 1).

        Example:
            >>> Frame.of((4, 2), Preprocessing(size=(2, 2))).points()
            (array([1., 3.]), array([0.5, 1.5]))
        """
        axes = zip(self.stored, self.cover, self.corner, self.space, strict=True)
        return tuple(
            (2 * np.arange(corner, corner + places) + 1) * stored / (2 * cover)
            for stored, cover, corner, places in axes
        )

    @classmethod
    def whole(cls, size: tuple[int, ...]) -> Frame:
        """Returns the frame of what is taken as it is."""
        return cls(stored=size, cover=size, corner=(0,) * len(size), space=size)

    @classmethod
    def of(cls, stored: tuple[int, ...], preprocessing: Preprocessing) -> Frame:
        """Returns the frame of a picture: squashed, or its short side resized and the centre cut out.

        The short side becomes round(size / crop) and the long side keeps the aspect, rounded down; margins are halved
        with Python's `round`. All of it is what torchvision's Resize and CenterCrop do.

        Example:
            >>> Frame.of((100, 200), Preprocessing(size=(56, 56), crop=0.875))
            Frame(stored=(100, 200), cover=(64, 128), corner=(4, 36), space=(56, 56))
        """
        size = preprocessing.size
        if size is None:
            return cls.whole(stored)
        if preprocessing.crop is None:
            return cls(stored=stored, cover=size, corner=(0,) * len(size), space=size)
        (height, width), (h, w) = stored, (round(s / preprocessing.crop) for s in size)
        cover = (height * w // width, w) if w * height >= h * width else (h, width * h // height)
        corner = (round((cover[0] - size[0]) / 2), round((cover[1] - size[1]) / 2))
        return cls(stored=stored, cover=cover, corner=corner, space=size)
