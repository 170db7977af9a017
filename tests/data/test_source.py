"""Streaming: in order, a little ahead, and gone without a trace when the consumer leaves."""

import itertools
import threading
import time
from functools import partial

import numpy as np
import pytest

from c2i_fast.data.source import Image, ImageSource, Skipped, in_order
from c2i_fast.errors import InputError, UsageError


class Fake(ImageSource):
    """Counts what is loaded; image i is the number i, after a delay; `faults` raise."""

    def __init__(self, total, faults=None, delay=lambda i: 0, **options):
        super().__init__([f"{i}.jpg" for i in range(total)], **options)
        self.begun = 0
        self.faults = faults or {}
        self.delay = delay

    def fingerprint(self):
        return ""

    def loads(self, start):
        return (partial(self.load, i) for i in range(start, len(self)))

    def load(self, i):
        self.begun += 1
        time.sleep(self.delay(i))
        if i in self.faults:
            raise self.faults[i]
        return np.full((1, 1, 1), i, np.float32)


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("c2i-images")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_images_come_in_order_however_long_each_takes(workers):
    source = Fake(30, delay=lambda i: 0.004 * (i % 3 == 0))
    images = list(source.stream(workers=workers))
    assert [image.index for image in images] == list(range(30))
    assert [image.id for image in images] == source.ids
    assert [image.pixels.item() for image in images] == list(range(30))


def test_an_image_carries_its_labels_and_target_and_cannot_be_written():
    source = Fake(2, labels=[(3, 17), (0,)], targets=[5, 6], notes=["said aloud"])
    first, second = source.stream()
    assert (first.labels, first.target, second.labels, second.target) == ((3, 17), 5, (0,), 6)
    assert source.notes == ["said aloud"]
    with pytest.raises(ValueError, match="read-only"):
        first.pixels[:] = 0


def test_without_labels_there_are_none():
    (image,) = Fake(1).stream()
    assert (image.labels, image.target) == ((), None)


@pytest.mark.parametrize("start", [0, 1, 7, 10, 15])
def test_start_is_slicing(start):
    whole = list(Fake(10).stream())
    assert [(i.index, i.id) for i in Fake(10).stream(start)] == [(i.index, i.id) for i in whole[start:]]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_look_ahead_is_bounded_whatever_the_consumer_does(workers):
    source = Fake(200)
    for consumed, _ in enumerate(source.stream(workers=workers), 1):
        if consumed % 20 == 0:
            time.sleep(0.01)  # time to run away, were it not bounded
        assert source.begun - consumed <= 2 * workers


def test_workers_load_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)
    assert list(in_order([meeting.wait] * 3, 3)) is not None
    assert not meeting.broken


def test_a_consumer_that_stops_early_leaves_no_thread_and_no_work():
    source = Fake(1000)
    stream = source.stream(workers=2)
    assert [image.index for image in itertools.islice(stream, 3)] == [0, 1, 2]
    assert decoding_threads()
    stream.close()
    begun = source.begun
    assert begun <= 3 + 4
    assert decoding_threads() == []
    time.sleep(0.02)
    assert source.begun == begun


def test_ctrl_c_in_the_consumer_ends_the_threads():
    def consume():
        for image in Fake(1000).stream():
            if image.index == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        consume()
    del caught
    assert decoding_threads() == []


def test_stop_raises_at_the_place_of_the_fault_and_tells_the_way_out():
    stream = Fake(6, {2: InputError("2.jpg: broken"), 1: InputError("1.jpg: broken")}).stream(workers=4)
    assert next(stream).index == 0
    with pytest.raises(InputError, match=r"1\.jpg: broken.*--on-error skip"):
        next(stream)
    assert decoding_threads() == []


def test_skip_keeps_the_place_and_the_reason():
    images = list(Fake(5, {2: InputError("2.jpg: broken")}).stream(on_error="skip"))
    assert images[2] == Skipped(index=2, id="2.jpg", reason="2.jpg: broken")
    assert [type(image) for image in images] == [Image, Image, Skipped, Image, Image]


def test_a_bug_is_never_skipped():
    with pytest.raises(ZeroDivisionError):
        list(Fake(3, {1: ZeroDivisionError()}).stream(on_error="skip"))


def test_a_fault_between_tasks_ends_the_threads():
    def tasks():
        yield lambda: 1
        yield lambda: 2
        raise InputError("cut off")

    with pytest.raises(InputError, match="cut off"):
        list(in_order(tasks(), 1))
    assert decoding_threads() == []


def test_wrong_arguments_are_refused_before_anything_is_read():
    source = Fake(3)
    with pytest.raises(UsageError, match="--workers"):
        source.stream(workers=0)
    with pytest.raises(ValueError, match="start"):
        source.stream(-1)
    assert source.begun == 0


def test_picking_yields_the_images_of_these_places_in_this_order():
    source = Fake(6)
    assert [load().item() for load in source.picks([4, 0, 5, 0])] == [4, 0, 5, 0]
    assert source.begun == 4, "nothing else is loaded"


@pytest.mark.parametrize("kind", ["stored", "compressed", "folder", "memory"])
def test_every_source_picks_what_it_streams(kind, picture, tmp_path):
    from c2i_fast.data.images import open_images
    from c2i_fast.data.memory import MemoryImages
    from c2i_fast.types import Preprocessing

    values = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), np.uint8)
    path = tmp_path / "images.npz"
    if kind == "folder":
        path = tmp_path / "folder"
        for number in range(7):
            picture(path / f"{number}.png", seed=number)
    elif kind != "memory":
        (np.savez if kind == "stored" else np.savez_compressed)(path, images=values)
    source = (
        MemoryImages(values)
        if kind == "memory"
        else open_images(str(path), preprocessing=Preprocessing(), channels=3, classes=2, class_names=None, limit=None)
    )
    places = [6, 2, 0, 5, 5]
    streamed = [image.pixels for image in source.stream()]
    for place, load in zip(places, source.picks(places), strict=True):
        np.testing.assert_array_equal(load(), streamed[place])
