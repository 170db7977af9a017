"""Picture files as a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from c2i_fast.data.fingerprint import of_files
from c2i_fast.data.frame import Frame
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.types import Floats, Preprocessing


class FileSource(ImageSource):
    """Picture files below `root`, whose ids are their relative paths."""

    def __init__(
        self,
        root: Path,
        ids: Sequence[str],
        labels: Sequence[tuple[int, ...]] | None,
        notes: Sequence[str],
        *,
        preprocessing: Preprocessing,
        channels: int,
    ) -> None:
        check_pictures(preprocessing, channels, root)
        super().__init__(ids, labels, notes=notes)
        self._root = root
        self._preprocessing = preprocessing
        self._channels = channels

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex over ids, labels and the bytes of the files in use; where they lie does not matter."""
        return of_files([list(self.ids), self.labels], [self._root / name for name in self.ids])

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what decodes file `start`, `start + 1`, …."""
        return self.picks(range(start, len(self)))

    def picks(self, places: Iterable[int]) -> Iterator[Callable[[], Floats]]:
        """Yields what decodes these files."""
        from c2i_fast.data.pictures import decode  # here, so that looking at a source needs no Pillow

        for place in places:
            yield partial(decode, self._root / self.ids[place], self._preprocessing, self._channels)

    def frame(self, number: int) -> Frame:
        """Returns what resizing and cropping do to the picture, whose size is read from its header."""
        from c2i_fast.data.pictures import upright_size

        return Frame.of(upright_size(self._root / self.ids[number]), self._preprocessing)


def check_pictures(preprocessing: Preprocessing, channels: int, where: object) -> None:
    """Raises an `InputError` when the network is one that no picture can feed."""
    if channels not in (1, 3):
        raise InputError(
            f"{where}: pictures have 1 or 3 channels, but the model takes {channels}; give an .npz with float32 images"
        )
    if preprocessing.size is not None and len(preprocessing.size) != 2:
        raise InputError(
            f"{where}: pictures need a size H,W, got {preprocessing.size}; give signals as an .npz with float32 images"
        )
