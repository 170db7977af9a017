"""What the tests of this room share: masked passes by definition, and the small CNN of the oracles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.types import PerturbationPlan


class LoopPasses:
    """The passes as they are defined: one row at a time, float64, masks at full size."""

    def __init__(self, logits_of: Callable[[np.ndarray], np.ndarray]) -> None:
        self.logits_of = logits_of
        self.calls: list[SimpleNamespace] = []

    def blend(self, plans: Sequence[PerturbationPlan], grids, axes, work) -> np.ndarray:
        self.calls.append(SimpleNamespace(plans=plans, grids=grids, axes=axes, work=work))
        rows = []
        for plan, mask in work:
            m = spread(grids[mask], [axis[mask] for axis in axes])
            image = plans[plan].start.astype(np.float64) * (1 - m) + plans[plan].end * m
            rows.append(self.logits_of(image))
        return np.array(rows, np.float32)

    def select(self, plans, work):
        self.calls.append(SimpleNamespace(plans=plans, work=work))
        masked = (np.where(plans[p].step_map < step, plans[p].end, plans[p].start) for p, step in work)
        return np.array([self.logits_of(image.astype(np.float64)) for image in masked], np.float32)

    def direct(self, images):
        return np.array([self.logits_of(image.astype(np.float64)) for image in images], np.float32)


def spread(grid: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """One matrix an axis, applied by the definition: out[i, j] = Σ_ab A[i, a] B[j, b] grid[a, b]."""
    out = grid.astype(np.float64)
    for axis, matrix in enumerate(matrices):
        out = np.moveaxis(np.tensordot(matrix.astype(np.float64), out, axes=(1, axis)), 0, axis)
    return out


class BatchPasses(LoopPasses):
    """The same with a function of many images at once, for networks too slow to run one by one."""

    def blend(self, plans, grids, axes, work):
        masks = [spread(grids[m], [axis[m] for axis in axes]) for m in range(len(grids))]
        images = [plans[p].start * (1 - masks[m]) + plans[p].end * masks[m] for p, m in work]
        return self.logits_of(np.array(images, np.float32))

    def select(self, plans, work):
        images = [np.where(plans[p].step_map < step, plans[p].end, plans[p].start) for p, step in work]
        return self.logits_of(np.array(images, np.float32))

    def direct(self, images):
        return self.logits_of(np.array(images, np.float32))


@pytest.fixture(scope="session")
def batch_passes() -> type[BatchPasses]:
    return BatchPasses


@pytest.fixture(scope="session")
def oracle_onnx(oracles: Path):
    """ "a" or "b" → an ONNX Runtime function of normalised images (N, 3, 32, 32) to logits."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def opened(name: str):
        session = onnxruntime.InferenceSession(oracles / f"model_{name}.onnx", providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]

    return lambda name: opened({"a": "a_tiny", "b": "b_resnet20"}[name])


@pytest.fixture(scope="session")
def loop_passes() -> type[LoopPasses]:
    return LoopPasses


@pytest.fixture(scope="session")
def spread_grid() -> Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]:
    return spread


@pytest.fixture(scope="session")
def model_a(oracles: Path):
    """The oracles' small CNN, rebuilt layer by layer, with its inputs, pictures and targets."""
    torch = pytest.importorskip("torch")
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.relu1 = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()
            self.conv2, self.relu2 = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
            self.conv3, self.relu3 = nn.Conv2d(32, 48, 3, padding=1), nn.ReLU()
            self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(48, 10)

        def forward(self, x):
            x = self.pool(self.relu1(self.conv1(x)))
            x = self.pool(self.relu2(self.conv2(x)))
            return self.fc(self.relu3(self.conv3(x)).mean(dim=(2, 3)))

    with np.load(oracles / "model_a_state.npz") as state:
        module = Tiny()
        module.load_state_dict({name: torch.from_numpy(state[name]) for name in state.files})
    with np.load(oracles / "images.npz") as images:
        return SimpleNamespace(
            module=module.eval(),
            normalised=images["x_a"],
            pixels=images["images_u8"].transpose(0, 3, 1, 2).astype(np.float32) / 255,
            targets=images["target_a"],
            logits=images["logits_torch32_a"],
            ids=[f"{i:02d}" for i in range(8)],
        )


@pytest.fixture(scope="session")
def model_b(oracles: Path):
    """The oracles' ResNet-20, rebuilt layer by layer, with its inputs and targets."""
    torch = pytest.importorskip("torch")
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside: int, out: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
            self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
            self.stride, self.added = stride, (out - inside) // 2

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            kept = x[:, :, :: self.stride, :: self.stride]
            return torch.relu(y + nn.functional.pad(kept, (0, 0, 0, 0, self.added, self.added)))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
            self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
            self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
            return self.linear(x.mean(dim=(2, 3)))

    with np.load(oracles / "model_b_state.npz") as state:
        module = ResNet()
        module.load_state_dict({name: torch.from_numpy(state[name]) for name in state.files})
    with np.load(oracles / "images.npz") as images:
        return SimpleNamespace(
            module=module.eval(),
            normalised=images["x_b"],
            targets=images["target_b"],
            logits=images["logits_torch32_b"],
            ids=[f"{i:02d}" for i in range(8)],
        )
