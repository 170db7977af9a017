"""Overlap and recording: in whatever order the lanes run, no memory is written that another still uses; equal bits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from c2i_fast.errors import EngineError
from c2i_fast.kernels import blocks as module
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.engine import SLOTS, HostEngine
from c2i_fast.kernels.host import HostBuffer, HostDevice
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.kernels.stage import Stage
from c2i_fast.metrics.readout import reading
from tests.kernels.order import OrderedDevice, RaceError
from tests.kernels.test_schedule import CLASSES, Linear, contract, every_step, expected, plans

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")


class Watched(HostEngine):
    """A network whose buffers an `OrderedDevice` watches."""

    def resize(self, batch):
        super().resize(batch)
        for buffer in (*self._inputs, *self._logits):
            self._device.known(buffer)

    def run(self, slot):
        self._device.do(
            lambda: self._device.touch(
                "compute", reads=[self._inputs[slot].pointer], writes=[self._logits[slot].pointer]
            )
        )
        return super().run(slot)


def watched(batch=4, device=None, **options):
    device = device or OrderedDevice()
    return CudaPasses(device, Watched(Linear(), contract(), batch, device), contract(), **options)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_PASSES", 8)


def everything(passes):
    """Logits, read-outs and soft masks of 9 plans, one after the other through the same stages."""
    some, work = plans(9), every_step(9)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, len(work)).astype(np.int32)
    grids = rng.random((8, 2, 2)).astype(np.float32)
    axes = [rng.random((8, size, 2)).astype(np.float32) for size in (6, 5)]
    return [
        passes.select(some, work),
        passes.read(some, work, reading(("raw", "logit"), targets)),
        passes.blend(some, grids, axes, work),
    ]


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_no_memory_is_used_by_two_at_a_time_and_no_bit_changes(small_blocks, stages, graphs):
    for found, alone in zip(everything(watched(stages=stages, graphs=graphs)), everything(plain()), strict=True):
        np.testing.assert_array_equal(found, alone)


def plain():
    device = HostDevice()
    engine = HostEngine(Linear(), contract(), 4, device)
    return CudaPasses(device, engine, contract(), stages=1, graphs=False)


@pytest.mark.parametrize("forgotten", ["after", "wait"])
def test_an_event_that_is_not_waited_for_would_be_noticed(small_blocks, forgotten):
    """What proves the order must be able to fail."""

    class Hasty(OrderedDevice):
        pass

    setattr(Hasty, forgotten, lambda self, *arguments: None)
    with pytest.raises(RaceError, match="same memory at the same time"):
        everything(watched(device=Hasty()))


def test_a_stage_taken_too_early_would_be_noticed(small_blocks, monkeypatch):
    passes = watched()
    passes._blocks._stages = [passes._blocks._stages[0]] * 2
    with pytest.raises(RaceError, match="same memory at the same time"):
        everything(passes)


def test_the_next_block_goes_up_before_the_last_one_is_waited_for(small_blocks):
    passes = watched()
    passes.select(plans(4), every_step(4))  # 32 passes: four blocks of two batches
    first_wait = passes.device.log.index("host waits")
    assert passes.device.log[:first_wait].count("fetch") == 2
    assert passes.device.log.count("host waits") == 4
    alone = watched(stages=1)
    alone.select(plans(4), every_step(4))
    assert alone.device.log[: alone.device.log.index("host waits")].count("fetch") == 1


def test_batches_that_repeat_are_recorded_once_a_stage_and_slot(small_blocks):
    """First as they are, then recorded: two stages and two slots; and the same numbers of launches run."""
    some, work = plans(1, intervals=79), every_step(1, 79)  # 80 passes, 10 blocks
    recorded, direct = watched(), watched(graphs=False)
    np.testing.assert_array_equal(recorded.select(some, work), direct.select(some, work))
    batches, kept = 20, 2 * SLOTS
    assert recorded.device.traffic.replays == batches - kept
    assert recorded.device.traffic.launches == 2 * kept, "asked for one by one: those that ran, those recorded"
    assert len(recorded.device.launches) == len(direct.device.launches) == batches
    assert direct.device.traffic.replays == 0


def test_a_network_that_was_set_up_anew_is_recorded_anew():
    passes, some, work = watched(), plans(2), every_step(2)
    for batch in (4, 2, 4):
        passes.engine.resize(batch)
        passes.select(some, work)
        np.testing.assert_allclose(passes.select(some, work), expected(some, work), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_recorded_runs_without_and_says_so_once():
    class Stubborn(Watched):
        def capture(self, body):
            raise EngineError("the stream is legacy")

    said, device = [], OrderedDevice()
    passes = CudaPasses(device, Stubborn(Linear(), contract(), 4, device), contract(), said.append)
    some, work = plans(5), every_step(5)
    for _ in range(2):
        np.testing.assert_allclose(passes.select(some, work), expected(some, work), rtol=1e-5, atol=1e-5)
    assert said == ["going on without CUDA graphs: the stream is legacy"]
    assert device.traffic.replays == 0


def test_recording_that_fails_halfway_leaves_the_device_usable():
    class Halfway(Watched):
        def run(self, slot):
            if self._device._recorded is not None:
                raise DeviceMemoryError("no room for a graph")
            return super().run(slot)

    said, device = [], OrderedDevice()
    passes = CudaPasses(device, Halfway(Linear(), contract(), 4, device), contract(), said.append)
    some, work = plans(5), every_step(5)
    np.testing.assert_allclose(passes.select(some, work), expected(some, work), rtol=1e-5, atol=1e-5)
    assert said == ["going on without CUDA graphs: no room for a graph"]
    assert passes.batch == 4


def test_memory_that_runs_out_while_another_block_is_aloft_loses_nothing(small_blocks):
    class Hungry(Watched):
        runs = 0

        def run(self, slot):
            self.runs += 1
            if self.runs == 6:  # in the third block
                raise DeviceMemoryError("the GPU is out of memory")
            return super().run(slot)

    said, told, device = [], [], OrderedDevice()
    passes = CudaPasses(device, Hungry(Linear(), contract(), 4, device), contract(), said.append, graphs=False)
    passes.on_passes = told.append
    some, work = plans(9), every_step(9)
    np.testing.assert_allclose(passes.select(some, work), expected(some, work), rtol=1e-5, atol=1e-5)
    assert said == ["the GPU is out of memory; going on with batches of 2"]
    assert sum(told) == len(work)
    assert told == [8, 8] + [4] * 14


def test_a_copy_from_the_host_is_never_part_of_a_recording():
    device = HostDevice()
    with pytest.raises(EngineError, match="cannot be recorded"):
        device.capture(lambda: device.upload(np.zeros(3), HostBuffer(24)))
    device.upload(np.zeros(3), HostBuffer(24))


def test_a_stage_grows_with_room_to_spare_and_keeps_its_place():
    device = OrderedDevice()
    stage = Stage(device)
    first = stage.put("images", np.arange(80, dtype=np.uint8))
    device.synchronise()
    assert stage.put("images", [np.arange(44, dtype=np.uint8)] * 2) == first, "88 bytes fit in 80 and an eighth"
    assert stage.room("images", 0).bytes[:88].tolist() == [*range(44), *range(44)]
    device.synchronise()
    stage.put("images", np.zeros(91, np.uint8))
    assert stage.room("images", 0).nbytes == 91 + 11
    assert device.traffic.up == 80 + 88 + 91
