"""A source whose images without a label count as images that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.types import Floats


class LabelledImages(ImageSource):
    """The images of a source, those without a label refused as unreadable ones are: `on_error` stops or skips them."""

    def __init__(self, source: ImageSource) -> None:
        super().__init__(source.ids, source.labels, source.targets, source.notes)
        self._source = source

    def fingerprint(self) -> str:
        """Returns the whole source's."""
        return self._source.fingerprint()

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what returns the pixels of image `start`, `start + 1`, …, or says that it has no label."""
        for index, load in enumerate(self._source.loads(start), start):
            yield load if self.labels and self.labels[index] else partial(_refuse, self.ids[index])


def _refuse(name: str) -> Floats:
    raise InputError(f"{name} has no label to follow")
