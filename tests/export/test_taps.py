"""Layers read through engines: against loops, against torch, against other tools' activations."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.errors import EngineError, InputError
from c2i_fast.export.graphs import fused_graph
from c2i_fast.export.precision import at_precision
from c2i_fast.export.save import save_graph
from c2i_fast.export.taps import OnnxTaps, find_layer, onnx_layers
from c2i_fast.models.source import load_classifier
from c2i_fast.types import EngineConfig, Preprocessing
from tests import nets

RGB = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# Value names of the oracles' two models, by what the oracles call the layers.
ORACLE_LAYERS = {
    ("a", "relu3"): "/relu3/Relu",
    ("a", "conv3"): "/conv3/Conv",
    ("a", "relu2"): "/relu2/Relu_output_0",
    ("b", "layer3"): "/layer3/layer3.2/relu2/Relu",
    ("b", "layer2"): "/layer2/layer2.2/relu2/Relu_output_0",
}
MODELS = {"a": "model_a_tiny.onnx", "b": "model_b_resnet20.onnx"}


def config(engine: str = "onnxruntime", batch: int = 8) -> EngineConfig:
    pytest.importorskip(engine)
    return EngineConfig(engine=engine, threads=1, batch_size=batch)


def hidden_by_loops(images, weights, space):
    """ReLU of a 3-wide convolution with padding 1, float64."""
    kernel, bias = (array.astype(np.float64) for array in weights[:2])
    padded = np.pad(images.astype(np.float64), [(0, 0), (0, 0), *[(1, 1)] * len(space)])
    out = np.zeros((len(images), len(kernel), *space)) + bias.reshape(1, -1, *(1,) * len(space))
    for tap in np.ndindex(*kernel.shape[2:]):
        window = padded[(slice(None), slice(None), *(slice(t, t + s) for t, s in zip(tap, space, strict=True)))]
        out += np.einsum("kc,nc...->nk...", kernel[(slice(None), slice(None), *tap)], window)
    return np.maximum(out, 0)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("channels", "space", "batch"), [(3, (9, 7), None), (2, (20,), None), (3, (5, 6), 4)])
def test_features_are_the_layers(engine, channels, space, batch):
    preprocessing = RGB if channels == 3 else Preprocessing(mean=(0.3,), std=(2.0,))
    net = nets.conv_net(channels, space, preprocessing=preprocessing, batch=batch)
    taps = OnnxTaps(net, config(engine))
    images = np.random.default_rng(0).random((6, channels, *space), np.float32)
    mean, std = (v.reshape(-1, *(1,) * len(space)) for v in preprocessing.channel_stats(channels))
    expected = hidden_by_loops((images - mean) / std, nets.conv_weights(channels, len(space), 5, 0), space)
    tap = taps.features(None)
    assert tap.shape == (8, *space)
    np.testing.assert_allclose(tap.passes.direct(list(images)).reshape(expected.shape), expected, atol=2e-5)
    pooled = taps.embedding(None)
    assert pooled.shape == (8,)
    means = expected.reshape(*expected.shape[:2], -1).mean(axis=2)
    np.testing.assert_allclose(pooled.passes.direct(list(images)), means, atol=2e-5)
    assert taps.features(None) is tap


@pytest.mark.parametrize(("model", "layer"), ORACLE_LAYERS)
def test_features_are_the_oracles_activations(model, layer, oracles):
    classifier = load_classifier(oracles / MODELS[model])
    with np.load(oracles / "gradcam_maps.npz") as maps, np.load(oracles / "images.npz") as images:
        expected, x = maps[f"{model}|{layer}|activations"], images[f"x_{model}"]
    tap = OnnxTaps(classifier, config()).features(ORACLE_LAYERS[model, layer])
    assert tap.shape == expected.shape[1:]
    np.testing.assert_allclose(tap.passes.direct(list(x)).reshape(expected.shape), expected, atol=2e-5)


@pytest.mark.parametrize("model", "ab")
def test_the_default_is_the_last_map_before_the_mean_and_the_head_is_found(model, oracles):
    """With the features, the head's weights give the logits less a constant for each class: the bias."""
    classifier = load_classifier(oracles / MODELS[model])
    taps = OnnxTaps(classifier, config())
    layer, weights = taps.linear_head()
    with np.load(oracles / "images.npz") as images:
        x, logits = images[f"x_{model}"], images[f"logits_torch64_{model}"]
    assert taps.features(None).layer == layer
    bias = logits - taps.embedding(None).passes.direct(list(x)) @ weights.T
    np.testing.assert_allclose(bias, np.broadcast_to(bias.mean(axis=0), bias.shape), atol=1e-4)


def test_a_fused_file_and_a_half_precision_one_are_tapped_as_well(tmp_path):
    net = nets.conv_net(preprocessing=RGB)
    path = tmp_path / "fused.onnx"
    save_graph(fused_graph(net.backbone(), net.contract, None), path, net.contract, check=lambda path: None)
    images = list(np.random.default_rng(0).random((3, 3, 9, 7), np.float32))
    expected = OnnxTaps(net, config()).features(None).passes.direct(images)
    again = OnnxTaps(load_classifier(path), config()).features(None)
    np.testing.assert_array_equal(again.passes.direct(images), expected)
    half = at_precision(net, "fp16", [])
    found = OnnxTaps(half, EngineConfig(engine="onnxruntime", precision="fp16", threads=1)).features(None)
    np.testing.assert_allclose(found.passes.direct(images), expected, atol=0.02)


def test_names_are_values_or_nodes_and_near_ones_are_offered(oracles):
    layers = onnx_layers(load_classifier(oracles / MODELS["a"]))
    assert find_layer(layers, "/relu2/Relu") is find_layer(layers, "/relu2/Relu_output_0")
    assert find_layer(layers, None).shape == (48, 8, 8)
    with pytest.raises(InputError, match=r"no layer '/relu4/Relu'.*near it: .*/relu3/Relu"):
        find_layer(layers, "/relu4/Relu")
    with pytest.raises(InputError, match=r"gives \(48,\) an image, expected a grid"):
        find_layer(layers, "/flat/Flatten")
    assert find_layer(layers, "/flat/Flatten", grid=False).shape == (48,)


def test_what_cannot_be_tapped_is_said():
    with pytest.raises(InputError, match="no layer of this model has a grid"):
        find_layer(onnx_layers(nets.linear_net(np.ones((2, 12)), np.zeros(2), 3, (2, 2))), None)
    with pytest.raises(EngineError, match="give --engine onnxruntime or openvino"):
        OnnxTaps(nets.conv_net(), EngineConfig(engine="torch")).features(None)
    with pytest.raises(InputError, match="cam needs a network of a global mean and one linear layer"):
        OnnxTaps(nets.linear_net(np.ones((2, 12)), np.zeros(2), 3, (2, 2)), config()).linear_head()


def test_tapping_leaves_the_classifier_as_it_was():
    import onnx_ir as ir

    net = nets.conv_net()
    before = ir.to_proto(net.backbone()).SerializeToString()
    taps = OnnxTaps(net, config())
    taps.features(None).passes.direct([np.zeros((3, 9, 7), np.float32)])
    taps.linear_head()
    assert ir.to_proto(net.backbone()).SerializeToString() == before


def test_dropped_classes_are_dropped_from_the_head():
    whole = OnnxTaps(nets.conv_net(classes=6), config()).linear_head()[1]
    net = nets.conv_net(classes=5, preprocessing=Preprocessing(drop_class=1))
    np.testing.assert_array_equal(OnnxTaps(net, config()).linear_head()[1], whole[1:])


@pytest.mark.slow
def test_tokens_of_a_vision_transformer_become_a_grid():
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    classifier = load_classifier("timm:vit_tiny_patch16_224", random_weights=True)
    module, seen = classifier.module, []
    assert isinstance(module, torch.nn.Module), timm
    tap = OnnxTaps(classifier, config(batch=2)).features(None)
    assert tap.shape == (192, 14, 14)
    images = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    mean, std = (v.reshape(-1, 1, 1) for v in classifier.contract.preprocessing.channel_stats(3))
    handle = module.get_submodule("norm").register_forward_hook(lambda part, inputs, output: seen.append(output))
    with torch.no_grad():
        module(torch.from_numpy((images - mean) / std))
    handle.remove()
    expected = seen[0][:, 1:].transpose(1, 2).reshape(2, 192, 14, 14).numpy()
    np.testing.assert_allclose(tap.passes.direct(list(images)).reshape(expected.shape), expected, atol=1e-3)
