"""torchvision and timm by name: the right network, the preprocessing it was published with, nothing downloaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from c2i_fast.errors import InputError
from c2i_fast.models import load_classifier
from c2i_fast.models.named_models import describe
from c2i_fast.types import Preprocessing
from tests.models import graphs

ROOT = Path(__file__).resolve().parents[2]
torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("timm", reason="timm is not installed")
pytestmark = pytest.mark.slow

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module", autouse=True)
def no_network():
    """Whoever asks for a connection fails."""
    import socket

    def refused(*args, **kwargs):
        raise OSError("no network in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(socket, "create_connection", refused)
        patch.setattr(socket, "getaddrinfo", refused)
        yield


@pytest.mark.parametrize(
    ("name", "expected", "notes"),
    [
        ("torchvision:resnet18", Preprocessing(size=(224, 224), crop=224 / 256, **IMAGENET), 0),
        ("torchvision:inception_v3", Preprocessing(size=(299, 299), crop=299 / 342, **IMAGENET), 0),
        ("torchvision:swin_t", Preprocessing(size=(224, 224), crop=224 / 232, **IMAGENET), 1),
        ("timm:test_resnet", Preprocessing(size=(160, 160), crop=0.95, mean=(0.5,) * 3, std=(0.5,) * 3), 0),
        ("timm:resnet18.a1_in1k", Preprocessing(size=(224, 224), crop=0.95, **IMAGENET), 1),
    ],
)
def test_the_card_is_that_of_the_published_weights(name, expected, notes):
    card = describe(name)
    assert card.preprocessing == expected
    assert card.channels == 3
    assert len(card.notes) == notes
    assert all("bicubic" in note for note in card.notes)


def test_torchvision_tells_its_class_names():
    names = describe("torchvision:resnet18").class_names
    assert (len(names), names[:2], names[-1]) == (1000, ("tench", "goldfish"), "toilet tissue")
    assert describe("timm:test_resnet").class_names is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("torchvision:resnet81", "did you mean resnet18"),
        ("torchvision:fcn_resnet50", "has no classifier 'fcn_resnet50'"),
        ("timm:restnet18", "did you mean .*resnet18"),
        ("timm:hf-hub:someone/something", "has no classifier"),
        ("timm:no_such_thing_at_all", "has no classifier"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(name, hint):
    with pytest.raises(InputError, match=hint):
        load_classifier(name, random_weights=True)


def test_random_weights_follow_the_seed_and_nothing_else():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    hashes = [
        load_classifier("timm:test_resnet", random_weights=True, seed=s).contract.source_sha256 for s in (0, 0, 1)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_from_a_file_replace_the_random_ones(tmp_path):
    import timm

    torch.manual_seed(3)
    source = timm.create_model("test_resnet", pretrained=False).eval()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    classifier = load_classifier("timm:test_resnet", weights=tmp_path / "w.pt")
    rows = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(classifier.module(rows), source(rows))


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "timm:test_resnet"])
def test_a_failing_download_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it tries again for a minute
    with pytest.raises(InputError, match=r"could not be downloaded \(.*\); use --weights FILE") as caught:
        load_classifier(name, download=True)
    assert "\n" not in str(caught.value)


def test_resnet18_exports_clean_and_equal():
    classifier = load_classifier("torchvision:resnet18", random_weights=True)
    assert classifier.contract.class_names[0] == "tench"
    backbone = classifier.backbone()
    content = ir.to_proto(backbone).SerializeToString()
    secrets = (b"stack_trace", b"pkg.", b".py", b"site-packages", b"pytorch", str(ROOT).encode(), b"/home/", b"/usr/")
    assert not [secret for secret in secrets if secret in content]
    rows = graphs.images(3, (3, 224, 224))
    with torch.no_grad():
        expected = classifier.module(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(graphs.answers(backbone, rows), expected, rtol=1e-4, atol=1e-5)


def test_a_timm_transformer_exports_at_any_batch():
    classifier = load_classifier("timm:test_vit", random_weights=True)
    for count in (1, 3):
        rows = graphs.images(count, (3, 160, 160))
        with torch.no_grad():
            expected = classifier.module(torch.from_numpy(rows)).numpy()
        np.testing.assert_allclose(graphs.answers(classifier.backbone(), rows), expected, rtol=1e-4, atol=1e-5)


def test_own_preprocessing_replaces_the_librarys_whole():
    own = Preprocessing(size=(64, 96))
    classifier = load_classifier("timm:test_resnet", random_weights=True, preprocessing=own)
    assert (classifier.contract.preprocessing, classifier.contract.space) == (own, (64, 96))


def test_torchvision_is_mended_beside_a_cpu_build_of_torch(tmp_path):
    """A stand-in for torchvision fails as the wheels do: until somebody declares its operators."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n"
        "from torchvision import inner\n"
        "for name in ('nms', 'qnms'):\n"
        "    if not hasattr(torch.ops.torchvision, name):\n"
        "        raise RuntimeError(f'operator torchvision::{name} does not exist')\n"
    )
    (package / "inner.py").write_text("")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import torch
from c2i_fast.models.named_models import import_torchvision
try:
    torch.version.cuda = "13.0"
    import_torchvision()
except RuntimeError as error:
    print(error)
torch.version.cuda = None
print(import_torchvision().__file__ == {str(package / "__init__.py")!r})
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["operator torchvision::nms does not exist", "True"]
