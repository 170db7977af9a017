"""Reading files that may come from anyone."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from c2i_fast.errors import InputError
from c2i_fast.models.onnx_files import hash_of, read_onnx
from tests.models import graphs


def _saved(path, graph=None):
    path.write_bytes((graph or graphs.simple()).bytes())
    return path


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*net\.onnx"):
        read_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize("content", [b"", b"this is text\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(64)])
def test_what_is_no_graph_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not an ONNX file"):
        read_onnx(path)


def test_a_broken_graph_is_refused_in_one_line(tmp_path):
    model = graphs.simple().model()
    model.graph.node[1].input[0] = "nowhere"
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="is not a valid ONNX graph") as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)


def test_the_hash_is_that_of_the_file(tmp_path):
    path = _saved(tmp_path / "net.onnx")
    assert read_onnx(path)[1] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_onnx(path.read_bytes())[1] == read_onnx(path)[1]


def test_external_data_beside_the_graph_is_read_into_memory_and_hashed(tmp_path):
    path = graphs.with_external_data(tmp_path / "net.onnx", "net.data")
    model, before = read_onnx(path)
    data = tmp_path / "net.data"
    assert before == hashlib.sha256(path.read_bytes() + data.read_bytes()).hexdigest()
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\0")
    assert read_onnx(path)[1] != before
    data.unlink()
    rows = graphs.images(2)
    np.testing.assert_array_equal(graphs.answers(model, rows), graphs.answers(graphs.simple().model(), rows))


def test_external_data_in_a_folder_below_is_fine(tmp_path):
    (tmp_path / "weights").mkdir()
    path = graphs.with_external_data(tmp_path / "net.onnx", "weights/net.data")
    assert len(read_onnx(path)[0].graph.initializers) == 3


@pytest.mark.parametrize("kind", ["absolute", "absolute inside", "parent", "link", "linked folder", "empty"])
def test_external_data_outside_the_folder_is_refused(tmp_path, kind):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    secret = outside / "secret.bin"
    location = {
        "absolute": str(secret),
        "absolute inside": str(inside / "net.data"),
        "parent": "../outside/secret.bin",
        "link": "net.data",
        "linked folder": "w/secret.bin",
        "empty": "",
    }[kind]
    path = graphs.with_external_data(inside / "net.onnx", location, content_at=secret)
    if kind == "absolute inside":
        (inside / "net.data").write_bytes(secret.read_bytes())
    if kind == "link":
        os.symlink(secret, inside / "net.data")
    if kind == "linked folder":
        os.symlink(outside, inside / "w")
    with pytest.raises(InputError, match="is not named relative to the graph, or lies outside its folder"):
        read_onnx(path)


def test_external_data_hidden_in_a_constant_is_found(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4 * graphs.CLASSES))
    tensor = onnx.TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[graphs.CLASSES])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    graph = graphs.simple()
    graph.nodes.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))
    graph.add("Add", "hidden", to="scores")
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match=r"secret\.bin' is not named relative to the graph, or lies outside"):
        read_onnx(_saved(tmp_path / "inside" / "net.onnx", graph))


def test_missing_external_data_is_named(tmp_path):
    path = graphs.with_external_data(tmp_path / "net.onnx", "net.data")
    (tmp_path / "net.data").unlink()
    with pytest.raises(InputError, match=r"external data file 'net\.data' is missing"):
        read_onnx(path)


def test_external_data_that_is_too_short_is_refused(tmp_path):
    path = graphs.with_external_data(tmp_path / "net.onnx", "net.data")
    (tmp_path / "net.data").write_bytes(b"1234")
    with pytest.raises(InputError, match=r"net\.onnx"):
        read_onnx(path)


def test_bytes_have_no_folder_for_external_data(tmp_path):
    path = graphs.with_external_data(tmp_path / "net.onnx", "net.data")
    with pytest.raises(InputError, match=r"give the path of the \.onnx file"):
        read_onnx(path.read_bytes())


def test_a_graph_that_never_was_a_file_has_a_hash_of_its_weights():
    model, _ = read_onnx(graphs.simple().bytes())
    other, _ = read_onnx(graphs.Graph().body().add("Flatten").dense(seed=5).bytes())
    assert hash_of(model) == hash_of(read_onnx(graphs.simple().bytes())[0])
    assert hash_of(model) != hash_of(other)
