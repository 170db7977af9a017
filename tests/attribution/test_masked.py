"""Methods by masks give one map, whichever implementation of masked passes runs them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from c2i_fast.attribution import METHODS, Context
from c2i_fast.errors import InputError
from c2i_fast.export.open import GraphOpener
from c2i_fast.export.taps import OnnxTaps, find_layer, onnx_layers, tapped
from c2i_fast.kernels.engine import HostEngine
from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses
from c2i_fast.types import EngineConfig, Preprocessing, Tap
from tests import nets

pytest.importorskip("onnxruntime")
CONFIG = EngineConfig(engine="onnxruntime", threads=1, batch_size=8)
OPTIONS = {
    "rise": {"masks": 20, "grid": 3},
    "rise-c2i": {"masks": 20, "grid": 3},
    "occlusion": {"window": 3, "stride": 2},
    "superpixel-occlusion": {"segments": 5},
    "cam": {},
    "scorecam": {},
    "relax": {"masks": 20, "grid": 3},
}


def on_kernels(opener, contract, batch):
    """The GPU's schedule and kernels, run on the CPU, in front of the fused graph."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels with")
    device = HostDevice()
    return CudaPasses(device, HostEngine(opener("fused", ""), contract, batch, device), contract)


def passes_of(implementation, classifier):
    return implementation(GraphOpener(classifier, CONFIG), classifier.contract, 8)


class TapsOf(OnnxTaps):
    """Taps whose passes are of one implementation."""

    def __init__(self, classifier, implementation):
        super().__init__(classifier, CONFIG)
        self.classifier, self.implementation = classifier, implementation

    def features(self, layer, pooled=False):
        found = find_layer(onnx_layers(self.classifier), layer)
        passes = passes_of(self.implementation, tapped(self.classifier, found, pooled=pooled))
        return Tap(layer=found.name, shape=found.shape[:1] if pooled else found.shape, passes=passes)

    def embedding(self, layer):
        return self.features(layer, pooled=True)


def explained(name, implementation, classifier, images):
    context = Context(
        passes=passes_of(implementation, classifier),
        taps=TapsOf(classifier, implementation),
        preprocessing=classifier.contract.preprocessing,
        readout=lambda logits, targets: logits[np.arange(len(logits)), targets].astype(np.float64),
        options=OPTIONS[name],
    )
    method = METHODS[name](context)
    return method.explain(["a", "b"], images, np.array([1, 4])), method.passes_used


@pytest.mark.parametrize("implementation", [GraphPasses, on_kernels])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_implementation_gives_the_references_map(name, implementation):
    if name == "superpixel-occlusion":
        pytest.importorskip("skimage")
    rgb = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    net = nets.conv_net(3, (12, 11), preprocessing=rgb)
    images = np.random.default_rng(0).random((2, 3, 12, 11), np.float32)
    expected, passes = explained(name, ReferencePasses, net, images)
    found, again = explained(name, implementation, net, images)
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1, abs(expected).max()))
    assert np.ptp(expected) > 1e-3
    assert again == passes


def test_a_method_without_what_it_needs_says_so():
    with pytest.raises(InputError, match="cam needs masked passes through an engine"):
        METHODS["cam"](Context())
    with pytest.raises(InputError, match="cam reads a layer of the network, and the context has no taps"):
        METHODS["cam"](Context(passes=passes_of(ReferencePasses, nets.conv_net())))
