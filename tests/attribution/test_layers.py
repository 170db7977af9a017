from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution.layers import Layer, last_convolutional, named, trace
from c2i_fast.errors import InputError

torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    """A residual block that uses one ReLU twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x + self.conv2(self.relu(self.conv1(x))))


def layer(name: str, shape=(4, 8, 8), kind: str = "Module", calls: int = 1, convolution: str = "") -> Layer:
    return Layer(name=name, kind=kind, shape=shape, calls=calls, convolution=convolution)


def residual() -> nn.Sequential:
    stem = nn.Conv2d(3, 4, 3, padding=1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return nn.Sequential(stem, nn.Sequential(Block(4), Block(4)), head)


def picture(size: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, size, size), np.float32))


def test_trace_lists_layers_as_they_finish():
    layers = {entry.name: entry for entry in trace(residual(), picture())}
    order = list(layers)
    assert (
        order.index("1.0.conv2") < order.index("1.0.relu") < order.index("1.0") < order.index("1") < order.index("2.0")
    )
    assert layers["1.0.relu"].calls == 2
    assert (layers["1"].shape, layers["1"].convolution, layers["1"].has_grid) == ((4, 8, 8), "has", True)
    assert (layers["0"].convolution, layers["1.0.relu"].convolution) == ("is", "")
    assert (layers["2.0"].shape, layers["2.0"].has_grid) == ((4, 1, 1), False)


def test_trace_leaves_no_hook():
    module = residual()
    trace(module, picture())
    assert not any(part._forward_hooks for part in module.modules())


def test_the_default_is_the_last_block():
    assert last_convolutional(trace(residual(), picture())).name == "1"


def test_the_default_of_a_flat_network_is_its_last_convolution():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    assert last_convolutional(trace(module, picture())).name == "2"


@pytest.mark.parametrize(
    ("network", "expected"), [("resnet18", "layer4"), ("mobilenet_v2", "features"), ("vgg11", "features")]
)
def test_the_defaults_of_known_networks(network, expected):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):  # shapes only: no weights are made, no arithmetic is done
        module = models.get_model(network, weights=None)
        assert last_convolutional(trace(module, torch.zeros(1, 3, 64, 64))).name == expected


def test_a_convolution_after_pooling_is_not_a_map():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.Flatten())
    assert last_convolutional(trace(module, picture())).name == "0"


def test_models_without_convolutions_are_refused():
    with pytest.raises(InputError, match="needs a 2-D convolution"):
        last_convolutional(trace(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), picture()))


def test_vision_transformers_are_told_what_is_missing():
    models = pytest.importorskip("torchvision.models")
    module = models.VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=2
    )
    with pytest.raises(InputError, match=r"tokens.*`layer`"):
        last_convolutional(trace(module, picture(16)))


def test_attention_before_the_last_convolution_is_no_obstacle():
    layers = [layer("stem", convolution="is"), layer("mix", kind="SelfAttention"), layer("out", convolution="is")]
    assert last_convolutional(layers).name == "out"


def test_a_convolution_that_runs_twice_has_no_single_map():
    with pytest.raises(InputError, match="runs several times"):
        last_convolutional([layer("shared", convolution="is", calls=2)])


def test_a_named_layer_must_exist_run_once_and_have_a_grid():
    layers = trace(residual(), picture())
    assert named(layers, "1.1.conv2").name == "1.1.conv2"
    with pytest.raises(InputError, match=r"no layer '1.1.conv3' runs in this model; close to it: .*1\.1\.conv2"):
        named(layers, "1.1.conv3")
    with pytest.raises(InputError, match=r"no layer 'zzz' runs in this model; the last ones are: .*2\.2"):
        named(layers, "zzz")
    with pytest.raises(InputError, match=r"returns \(2,\) an image, expected a grid"):
        named(layers, "2.2")
    with pytest.raises(InputError, match="runs 2 times"):
        named(layers, "1.0.relu")


def test_an_output_that_is_no_tensor_has_no_grid():
    assert not layer("pair", shape=None).has_grid
    assert not layer("tokens", shape=(16, 8)).has_grid
