"""The GPU's schedule, run on the host: launches, copies, double buffering, blocks, memory running out."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.platt import Platt
from c2i_fast.calibration.recalx import ReCalX
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.calibration.vector import Vector
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.errors import InputError
from c2i_fast.kernels import blocks as schedule
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.engine import HostEngine
from c2i_fast.kernels.host import HostBuffer, HostDevice
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.kernels.ranking import Ranking
from c2i_fast.kernels.storage import Storage
from c2i_fast.metrics.measures import make_measures
from c2i_fast.metrics.readout import read, readable, reading
from c2i_fast.perturb.order import pixel_order, step_map
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import GraphContract, PerturbationPlan, Preprocessing, Reading

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")

CHANNELS, SPACE, CLASSES = 3, (6, 5), 4


class Linear:
    """A network of one random matrix, in NumPy."""

    def __init__(self, seed=0):
        self.weights = np.random.default_rng(seed).normal(size=(CHANNELS * 30, CLASSES)).astype(np.float32)
        self.batches = []

    def run(self, feeds):
        pixels = feeds["pixels"]
        self.batches.append(len(pixels))
        return {"logits": pixels.reshape(len(pixels), -1) @ self.weights}


def contract():
    return GraphContract(channels=CHANNELS, space=SPACE, classes=CLASSES, preprocessing=Preprocessing())


def made(batch=4, **options):
    device = HostDevice()
    return CudaPasses(device, HostEngine(Linear(), contract(), batch, device), contract(), **options)


def plans(count, intervals=7, seed=1):
    rng = np.random.default_rng(seed)
    baseline = rng.normal(size=(CHANNELS, *SPACE)).astype(np.float32)
    return [
        PerturbationPlan(
            start=rng.normal(size=(CHANNELS, *SPACE)).astype(np.float32),
            end=baseline,
            step_map=rng.integers(0, intervals + 1, (1, *SPACE)).astype(np.uint8),
            intervals=intervals,
        )
        for _ in range(count)
    ]


def every_step(count, intervals=7):
    return np.array([[p, k] for p in range(count) for k in range(intervals + 1)], np.int32)


def expected(some, work):
    masked = [np.where(some[p].step_map < k, some[p].end, some[p].start) for p, k in work]
    return np.stack(masked).reshape(len(work), -1) @ Linear().weights


@pytest.mark.parametrize("count", [1, 2, 37])
@pytest.mark.parametrize("batch", [1, 4, 7, 64])
def test_awkward_numbers_answer_as_the_definition(count, batch):
    some, work = plans(count), every_step(count)
    np.testing.assert_allclose(made(batch).select(some, work), expected(some, work), rtol=1e-5, atol=1e-5)


def test_one_launch_a_batch_in_alternating_slots():
    passes = made(4)
    passes.select(plans(2), every_step(2))
    outs = [launch.arguments[4] for launch in passes.device.launches]
    slots = [passes.engine.input(0).pointer, passes.engine.input(1).pointer]
    assert outs == slots * 2
    assert {launch.source for launch in passes.device.launches} == {"mask_select"}
    assert passes.engine._session.batches == [4, 4, 4, 4]


def test_what_is_shared_goes_up_once_and_answers_come_down_once():
    passes, some = made(8), plans(5)
    passes.select(some, every_step(5))
    images = 6 * CHANNELS * 30 * 4  # five starts and the baseline they share
    small = 5 * 30 + 5 * 12 + 40 * 8  # step maps, plans, work
    assert passes.device.traffic.up == images + small
    assert passes.device.traffic.down == 40 * CLASSES * 4


def test_at_many_points_uploads_are_a_hundredth_of_the_masked_images():
    """Two curves of 225 points on one map: what the host sends, against what it would send masked."""
    some = plans(1, intervals=224)
    work = np.concatenate([every_step(1, 224)] * 2)
    passes = made(32)
    passes.select(some, work)
    assert passes.device.traffic.up <= 0.03 * len(work) * CHANNELS * 30 * 4  # small images: the work list weighs most
    large = 2 * 3 * 224 * 224 * 4 + 224 * 224 + len(work) * 8  # the same count for 224×224
    assert large <= 0.01 * len(work) * 3 * 224 * 224 * 4


def test_blocks_change_no_bit(monkeypatch):
    some, work = plans(9), every_step(9)
    whole = made(4).select(some, work)
    for size in (1, 4, 9, 20):
        monkeypatch.setattr(schedule, "BLOCK_PASSES", size)
        np.testing.assert_array_equal(made(4).select(some, work), whole)


class Fading:
    """A temperature that depends on how much of the image is left."""

    method, preserves_order = "fading", True

    def scales(self, perturbed_fraction):
        return 1 / (1 + 2 * perturbed_fraction)

    def transform(self, logits, perturbed_fraction=None):
        return logits * self.scales(perturbed_fraction)[:, None]


CALIBRATORS = {
    "temperature": (Temperature.from_parameters({"temperature": 1.7}), "softmax"),
    "identity": (Identity(), "softmax"),
    "vector": (Vector.from_parameters({"weights": [0.5, 2, 1, -3], "bias": [1, 0, -2, 4]}), "softmax"),
    "platt": (Platt.from_parameters({"slopes": [0.5, 2, 1, -3], "intercepts": [1, 0, -2, 4]}), "sigmoid"),
    "a scale a pass": (Fading(), "softmax"),
}


@pytest.mark.parametrize("name", CALIBRATORS)
def test_read_outs_on_the_device_are_those_of_the_host(name):
    calibrator, activation = CALIBRATORS[name]
    some, work = plans(3), every_step(3)
    rng = np.random.default_rng(3)
    targets = rng.integers(0, CLASSES, len(work)).astype(np.int32)
    lost = rng.random(len(work))
    names = ("raw", "calibrated", "logit", "sigmoid")
    assert readable(names, calibrator, per_pass=True)
    asked = reading(names, targets, calibrator=calibrator, perturbed_fraction=lost, activation=activation)
    found = made(5).read(some, work, asked)
    logits = made(5).select(some, work)
    assert found.shape == (len(work), 4)
    for column, readout in zip(found.T, names, strict=True):
        for value, row, target, fraction in zip(column, logits, targets, lost, strict=True):
            exact = read(
                readout,
                row[None],
                int(target),
                calibrator=calibrator,
                perturbed_fraction=np.array([fraction]),
                activation=activation,
            )[0]
            assert abs(value - exact) <= 1e-6 * max(1, abs(exact))


def test_scales_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"scales \(1, 2\) do not fit 3 passes and 2 read-outs"):
        Reading(targets=np.zeros(3, np.int32), kinds=np.zeros(2, np.int32), scales=np.ones((1, 2), np.float32))


def test_read_outs_send_down_a_few_floats_a_pass():
    passes = made(8)
    work = every_step(2)
    passes.read(plans(2), work, reading(("raw",), np.zeros(len(work), np.int32)))
    assert passes.device.traffic.down == len(work) * 4


def test_a_calibrator_the_kernel_does_not_know_is_left_to_the_host():
    class Other(Temperature):
        method = "other"

    other = Other.from_parameters({"temperature": 2.0})
    assert not readable(("raw", "calibrated"), other)
    assert not readable(("calibrated",), None)
    assert not readable(("calibrated",), Fading()), "without perturbed fractions it has no scales"
    assert readable(("raw", "logit"), None)
    assert reading(("raw", "logit"), np.zeros(1, np.int32), activation="sigmoid").kinds.tolist() == [2, 1]


class SmallDevice(HostDevice):
    """A device that cannot hold more than so many bytes at a time in one buffer."""

    most = 10**9

    def allocate(self, nbytes):
        if nbytes > self.most:
            raise DeviceMemoryError("the GPU is out of memory")
        return super().allocate(nbytes)


def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch):
    class Hungry(HostEngine):
        def run(self, slot):
            if self.batch > 3:
                raise DeviceMemoryError("the GPU is out of memory")
            return super().run(slot)

    said = []
    device = HostDevice()
    passes = CudaPasses(device, Hungry(Linear(), contract(), 16, device), contract(), said.append)
    some, work = plans(3), every_step(3)
    np.testing.assert_allclose(passes.select(some, work), expected(some, work), rtol=1e-5, atol=1e-5)
    assert passes.batch == 2
    assert said == [f"the GPU is out of memory; going on with batches of {n}" for n in (8, 4, 2)]
    np.testing.assert_allclose(
        passes.direct([p.start for p in some]),
        np.stack([p.start for p in some]).reshape(3, -1) @ Linear().weights,
        rtol=1e-5,
        atol=1e-5,
    )


def test_when_even_one_image_does_not_fit_the_error_is_the_devices():
    device = SmallDevice()
    passes = CudaPasses(device, HostEngine(Linear(), contract(), 1, device), contract())
    device.most = 10
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        passes.select(plans(1), every_step(1))


@pytest.mark.parametrize("lerf", [False, True])
@pytest.mark.parametrize("ties", ["index", "reverse-index"])
def test_maps_ranked_on_the_device_are_those_ranked_on_the_host(ties, lerf):
    maps = np.random.default_rng(2).integers(0, 9, (3, *SPACE)).astype(np.float32)
    counts = np.array([0, 3, 3, 17, 30], np.int32)
    found = Ranking(HostDevice()).step_maps(maps, counts, last_first=ties == "reverse-index", lerf=lerf)
    for row, steps in zip(maps, found, strict=True):
        order = pixel_order(row, ties)
        np.testing.assert_array_equal(steps, step_map(order[::-1] if lerf else order, counts, SPACE)[0])


def test_a_nan_on_the_device_path_is_refused_by_number():
    maps = np.zeros((3, *SPACE), np.float32)
    maps[1, 2, 2] = np.nan
    with pytest.raises(InputError, match="saliency map 1 holds a NaN"):
        Ranking(HostDevice()).step_maps(maps, np.array([0, 30], np.int32))


def test_images_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"takes images of shape \(3, 6, 5\), got \(3, 5, 6\)"):
        made().direct([np.zeros((3, 5, 6), np.float32)])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("by_channel", [False, True])
def test_an_engine_that_takes_normalised_halves_gets_them(layout, bgr, by_channel):
    """What arrives in the input buffer is the masked image, normalised, rounded and laid out."""
    prep = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), bgr=bgr)
    storage = Storage(type="fp16", layout=layout, preprocessing=prep)

    class Keeping:
        def __init__(self):
            self.storage, self.batch, self.seen = storage, 4, []
            self._input, self._logits = HostBuffer(4 * 90 * 2), HostBuffer(4 * CLASSES * 4)

        def input(self, slot):
            return self._input

        def capture(self, body):
            return None

        def run(self, slot):
            self.seen.append(self._input.array((4, 90), np.uint16).copy())
            return self._logits

    rng = np.random.default_rng(4)
    plan = PerturbationPlan(
        start=rng.random((CHANNELS, *SPACE), np.float32),
        end=rng.random((CHANNELS, *SPACE), np.float32),
        step_map=rng.integers(0, 4, (CHANNELS if by_channel else 1, *SPACE)).astype(np.uint8),
        intervals=3,
    )
    engine = Keeping()
    CudaPasses(HostDevice(), engine, contract()).select([plan], np.array([[0, k] for k in range(4)], np.int32))
    for k, row in enumerate(engine.seen[0]):
        np.testing.assert_array_equal(row, storage.encode(np.where(plan.step_map < k, plan.end, plan.start)))


RECALX = {
    "levels": 3,
    "inverse_temperatures": [1.4, 0.9, 0.2],
    "at_bound": [None] * 3,
    "samples": [9] * 3,
    "baseline": "mean",
    "mask_law": None,
}


@pytest.mark.parametrize(
    "calibrator",
    [
        Temperature.from_parameters({"temperature": 0.7}),
        Vector.from_parameters(
            {"weights": [0.5 + k / 8 for k in range(CLASSES)], "bias": [k / 9 for k in range(CLASSES)]}
        ),
        ReCalX.from_parameters(RECALX),
    ],
    ids=lambda calibrator: calibrator.method,
)
def test_scoring_on_a_device_sends_down_read_outs_alone(calibrator):
    """Logits of the clean passes, and of all others the read-outs: scores equal to 1e-6, a fraction of the bytes."""
    rng = np.random.default_rng(6)
    images = MemoryImages(rng.random((9, CHANNELS, *SPACE), np.float32))
    maps = memory_maps({"m": rng.random((9, *SPACE), np.float32)}, images.ids)
    task = ScoreTask(
        measures=make_measures(("deletion", "insertion", "gap"), ("c2i",), {"intervals": "7"}),
        readouts=("raw", "calibrated", "logit"),
        preprocessing=Preprocessing(),
        calibrator=calibrator,
        passes_per_part=40,
    )
    found = {}
    for keep in (False, True):
        passes = made(8)
        parts = list(score_stream(images.stream(), maps, passes, task, keep_logits=keep))
        scored = [image for part in parts for image in part.images]
        assert all((image.logits is not None) == keep for image in scored)
        found[keep] = [score for image in scored for score in image.scores], passes.device.traffic.down
    for device, host in zip(found[False][0], found[True][0], strict=True):
        for name in ("image", "metric", "readout", "target"):
            assert getattr(device, name) == getattr(host, name)
        scale = max(1, np.abs(host.curve.values).max())
        np.testing.assert_allclose(device.curve.values, host.curve.values, rtol=0, atol=1e-6 * scale)
    passes_an_image = len(scored[0].plan.work)
    assert found[True][1] == 9 * passes_an_image * CLASSES * 4
    assert found[False][1] == 9 * (CLASSES + 3 * (passes_an_image - 1)) * 4
