"""Preprocessing from flags and recipes."""

import numpy as np
import pytest

from c2i_fast.errors import InputError, UsageError
from c2i_fast.models.preprocess import (
    find_recipe,
    load_recipe,
    parse_channels,
    parse_size,
    preprocessing_from_options,
)
from c2i_fast.types import Preprocessing


@pytest.mark.parametrize(
    ("text", "rank", "size"),
    [("224", 2, (224, 224)), ("224,200", 2, (224, 200)), (" 7 , 9 ", 2, (7, 9)), ("256", 1, (256,))],
)
def test_sizes(text, rank, size):
    assert parse_size(text, rank) == size


@pytest.mark.parametrize("text", ["", "0", "-3", "a", "224x224", "1,2,3", "224,", "2.5", "224,0"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError, match="--size"):
        parse_size(text)


def test_a_signal_has_one_size():
    with pytest.raises(UsageError, match="--size"):
        parse_size("3,4", rank=1)


@pytest.mark.parametrize(
    ("text", "values"), [("0.5", (0.5,)), ("0.485, .456,4e-1", (0.485, 0.456, 0.4)), ("-1,2", (-1.0, 2.0))]
)
def test_channels(text, values):
    assert parse_channels(text) == values


@pytest.mark.parametrize("text", ["", "a,b", "1;2", "1,,2"])
def test_channels_that_are_none(text):
    with pytest.raises(UsageError, match="--std must look like"):
        parse_channels(text, "--std")


def test_nothing_given_is_nothing_known():
    assert preprocessing_from_options() is None


def test_flags():
    got = preprocessing_from_options(
        size="224,200", crop=0.9, mean="0.1,0.2,0.3", std="2", bgr=True, drop_class=1, outputs="probabilities"
    )
    assert got == Preprocessing(
        size=(224, 200), crop=0.9, mean=(0.1, 0.2, 0.3), std=(2.0,), bgr=True, drop_class=1, outputs="probabilities"
    )


@pytest.mark.parametrize("flag", [{"bgr": False}, {"drop_class": 0}, {"outputs": "logits"}])
def test_a_flag_that_says_the_default_is_given_all_the_same(flag):
    assert preprocessing_from_options(**flag) == Preprocessing()


def test_flags_override_the_recipe_and_leave_the_rest():
    base = load_recipe(find_recipe("caffe-bgr"))
    got = preprocessing_from_options(recipe="caffe-bgr", size="224", bgr=False)
    assert (got.size, got.bgr) == ((224, 224), False)
    assert (got.mean, got.std) == (base.mean, base.std)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 0.875}, "needs a size"),
        ({"size": "224", "crop": 0.0}, "crop must lie"),
        ({"size": "224", "crop": 1.5}, "crop must lie"),
        ({"size": "224", "crop": float("nan")}, "crop must lie"),
        ({"std": "0"}, "std must be positive"),
        ({"mean": "1,2", "std": "1,2,3"}, "2 channels"),
        ({"mean": "nan"}, "mean must be finite"),
        ({"drop_class": -1}, "drop_class"),
        ({"outputs": "softmax"}, "logits or probabilities"),
    ],
)
def test_flags_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        preprocessing_from_options(**options)


def fed(preprocessing, pixel):
    """What the network is fed for one RGB pixel in 0..255, by the definition in `Preprocessing`."""
    mean, std = preprocessing.channel_stats(3)
    values = (np.asarray(pixel) / 255 - mean) / std
    return values[::-1] if preprocessing.bgr else values


@pytest.mark.parametrize(
    ("name", "size", "crop", "drop", "expected"),
    [
        (
            "torchvision-imagenet",
            224,
            0.875,
            0,
            [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
        ),
        ("mobilenet-tf", 224, None, 1, [(10 - 127.5) / 127.5, (20 - 127.5) / 127.5, (30 - 127.5) / 127.5]),
        ("caffe-bgr", 227, None, 0, [30 - 104, 20 - 117, 10 - 123]),
        (
            "cifar10-imagenet-stats",
            32,
            None,
            0,
            [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
        ),
    ],
)
def test_shipped_recipes_feed_what_their_networks_were_trained_on(name, size, crop, drop, expected):
    recipe = load_recipe(find_recipe(name))
    assert (recipe.size, recipe.crop, recipe.drop_class, recipe.outputs) == ((size, size), crop, drop, "logits")
    np.testing.assert_allclose(fed(recipe, (10, 20, 30)), expected, rtol=1e-5)


def test_every_shipped_recipe_loads_and_is_named_like_its_file():
    files = sorted(find_recipe("caffe-bgr").parent.glob("*.toml"))
    assert len(files) >= 4
    for file in files:
        assert isinstance(load_recipe(file), Preprocessing)
        assert f'name = "{file.stem}"' in file.read_text()


def test_a_path_comes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caffe-bgr").write_text("size = 5")
    assert load_recipe(find_recipe("caffe-bgr")).size == (5, 5)


def test_an_unknown_recipe_lists_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"did you mean 'mobilenet-tf'.*shipped: caffe-bgr, cifar10"):
        find_recipe("mobilenet_tf")
    with pytest.raises(InputError, match="no such file"):
        find_recipe(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Preprocessing()),
        ("size = 8", Preprocessing(size=(8, 8))),
        ("size = [8, 9]\ncrop = 1", Preprocessing(size=(8, 9), crop=1)),
        ("size = [256]", Preprocessing(size=(256,))),
        ("mean = 1\nstd = [2, 0.5]", Preprocessing(mean=(1.0,), std=(2.0, 0.5))),
        ('name = "mine"\nnote = "for me"\noutputs = "probabilities"', Preprocessing(outputs="probabilities")),
    ],
)
def test_recipes(tmp_path, text, expected):
    (tmp_path / "r.toml").write_text(text)
    assert load_recipe(tmp_path / "r.toml") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size = ", "expected a recipe in TOML"),
        (
            "sizes = 3\nMean = 4",
            "unknown key.*Mean, sizes; known: size, crop, mean, std, bgr, drop_class, outputs, activation, name, note",
        ),
        ('size = "224"', "size must be an integer"),
        ("size = []", "size must be an integer"),
        ("size = [224, 0]", "size must be one or two positive"),
        ("size = [1, 2, 3]", "size must be one or two"),
        ("mean = inf", "mean must be finite"),
        ("size = true", "size must be an integer"),
        ("size = 8\ncrop = 2", "crop must lie"),
        ('crop = "half"', "crop must be a number"),
        ('mean = ["a"]', "mean must be a number"),
        ("std = []", "std must be a number"),
        ("std = [0]", "std must be positive"),
        ("bgr = 1", "bgr must be true or false"),
        ("drop_class = 0.5", "drop_class must be a number"),
        ('outputs = "scores"', "outputs must be logits or probabilities"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path, text, message):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InputError, match=rf"r\.toml.*{message}") as caught:
        load_recipe(tmp_path / "r.toml")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no\.toml"):
        load_recipe(tmp_path / "no.toml")
