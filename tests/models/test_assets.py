"""Real networks of three origins: read whole, run, and equal to the files they came from."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

from c2i_fast.errors import InputError
from c2i_fast.models import load_classifier
from c2i_fast.types import Preprocessing
from tests.models import graphs

MOBILENET = Preprocessing(mean=(0.5,), std=(0.5,), drop_class=1)
SQUEEZENET = Preprocessing(mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,), bgr=True, size=(227, 227))
CIFAR = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("file", "preprocessing", "side", "classes", "opset"),
    [
        ("imagenet/tf2_mobilenet_v2_1.0_224_ptq.onnx", MOBILENET, 224, 1000, 13),
        ("imagenet/squeezenet_v1.1.onnx", SQUEEZENET, 227, 1000, 13),
        ("cifar10/resnet20.onnx", CIFAR, 32, 10, 20),
    ],
)
def test_real_networks_answer_as_their_files_do(assets, file, preprocessing, side, classes, opset):
    path = assets / "models" / file
    classifier = load_classifier(path, preprocessing=preprocessing)
    contract = classifier.contract
    assert (contract.channels, contract.space, contract.classes) == (3, (side, side), classes)
    assert (contract.batch, contract.opset) == (None, opset)
    assert contract.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for count in (1, 3):
        rows = (graphs.images(count, (3, side, side)) - 0.5) / np.float32(contract.preprocessing.std[0])
        expected = graphs.answers(onnx.load(path), rows)
        np.testing.assert_allclose(graphs.answers(classifier.backbone(), rows), expected, rtol=0, atol=1e-6)


def test_another_size_than_the_files_is_refused(assets):
    with pytest.raises(InputError, match="takes images of 227×227, but --size says 224×224"):
        load_classifier(assets / "models/imagenet/squeezenet_v1.1.onnx", preprocessing=Preprocessing(size=(224, 224)))


def test_the_same_weights_in_torch_are_the_same_network(assets):
    """The safetensors beside resnet20.onnx, in the architecture their names describe."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    from c2i_fast.models.weights import load_weights
    from tests.models.nets import CifarResNet

    net = CifarResNet(blocks=3).eval()
    load_weights(net, assets / "models/cifar10/resnet20.safetensors")
    rows = (graphs.images(3, (3, 32, 32)) - 0.5) / np.float32(0.25)
    with torch.no_grad():
        answers = net(torch.from_numpy(rows)).numpy()
    expected = graphs.answers(onnx.load(assets / "models/cifar10/resnet20.onnx"), rows)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-4)
