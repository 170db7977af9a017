"""`open_maps` and `check_ids`: from the command line's words to maps that fit the images."""

import json

import numpy as np
import pytest

from c2i_fast.data import check_ids, open_maps
from c2i_fast.errors import InputError


def save(folder, *keys, value=0.0):
    for key in keys:
        path = folder / f"{key}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((2, 2), value))
    return folder


@pytest.fixture
def explained(tmp_path):
    """What `explain` writes for two methods."""
    out = tmp_path / "maps"
    for value, name in enumerate(("rise", "sobel")):
        save(out / "methods" / name, "cat/1.jpg", "2.jpg", value=value)
    methods = [{"name": name, "path": f"methods/{name}", "seconds": 1.5} for name in ("sobel", "rise")]
    (out / "explain.json").write_text(json.dumps({"out": "maps", "methods": methods}))
    return out


def test_a_folder_that_explain_wrote_holds_all_its_methods(explained):
    maps = open_maps([str(explained)])
    assert list(maps) == ["sobel", "rise"]
    assert [source.name for source in maps.values()] == ["sobel", "rise"]
    assert maps["sobel"].load("cat/1.jpg", (3, 3))[0, 0] == 1
    assert sorted(maps["rise"].ids) == ["2.jpg", "cat/1.jpg"]


def test_a_name_picks_one_of_its_methods(explained):
    assert list(open_maps([f"rise={explained}"])) == ["rise"]
    assert open_maps([f"rise={explained}"])["rise"].load("2.jpg", (2, 2))[0, 0] == 0
    with pytest.raises(InputError, match="no method 'gradcam'; it holds sobel, rise"):
        open_maps([f"gradcam={explained}"])


def test_a_name_renames_the_only_method(tmp_path):
    save(tmp_path / "rise", "a")
    (tmp_path / "explain.json").write_text('{"methods": [{"name": "rise", "path": "rise"}]}')
    assert list(open_maps([f"mine={tmp_path}"])) == ["mine"]


def test_folders_and_npz_take_their_own_names_or_the_given_ones(tmp_path, monkeypatch):
    save(tmp_path / "my.maps", "a")
    np.savez(tmp_path / "ig.npz", maps=np.ones((1, 2, 2)), ids=["a"])
    items = [str(tmp_path / "my.maps"), str(tmp_path / "ig.npz"), f"again={tmp_path / 'ig.npz'}"]
    maps = open_maps(items)
    assert list(maps) == ["my.maps", "ig", "again"]
    assert maps["again"].name == "again"
    monkeypatch.chdir(tmp_path / "my.maps")
    assert list(open_maps(["."])) == ["my.maps"]


def test_an_existing_path_may_contain_an_equals_sign(tmp_path):
    save(tmp_path / "p=0.5", "a")
    assert list(open_maps([str(tmp_path / "p=0.5")])) == ["p=0.5"]
    assert list(open_maps([f"half={tmp_path / 'p=0.5'}"])) == ["half"]


def test_a_name_is_used_once(tmp_path):
    save(tmp_path / "a" / "rise", "x")
    save(tmp_path / "b" / "rise", "x")
    with pytest.raises(InputError, match="'rise' names two sources"):
        open_maps([str(tmp_path / "a" / "rise"), str(tmp_path / "b" / "rise")])


@pytest.mark.parametrize("item", ["nowhere", "rise=nowhere", "nowhere.npz", "=nowhere", "rise=", ""])
def test_what_is_not_there(tmp_path, monkeypatch, item):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected"):
        open_maps([item])


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "maps.txt").touch()
    with pytest.raises(InputError, match=r"maps\.txt.*file of kind '\.txt'"):
        open_maps([str(tmp_path / "maps.txt")])


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"methods": 3}',
        '{"methods": [{"name": "rise"}]}',
        '{"methods": []}',
        '{"methods": [{"name": "rise", "path": "../elsewhere"}]}',
        '{"methods": [{"name": "rise", "path": "/tmp"}]}',
        '{"methods": [{"name": "rise", "path": "gone"}]}',
    ],
)
def test_an_index_that_is_broken_or_leads_elsewhere(tmp_path, text):
    save(tmp_path / "elsewhere", "a")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "explain.json").write_text(text)
    with pytest.raises(InputError, match="expected") as caught:
        open_maps([str(tmp_path / "maps")])
    assert "\n" not in str(caught.value)


def test_every_image_needs_a_map(tmp_path):
    maps = open_maps([str(save(tmp_path / "rise", "1", "2.jpg"))])
    check_ids(maps, ["1.jpg", "2.jpg"])
    check_ids(maps, ["2.jpg"])
    check_ids(maps, [])
    with pytest.raises(InputError, match=r"2 of 4 images have no map 'rise': 3\.jpg, 4\.jpg"):
        check_ids(maps, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])


def test_maps_of_other_images_show_one_name_of_each(tmp_path):
    maps = open_maps([str(save(tmp_path / "rise", "img_1"))])
    with pytest.raises(InputError, match=r"any of the 2 images.*'a\.jpg'.*'img_1'"):
        check_ids(maps, ["a.jpg", "b.jpg"])


def test_every_source_is_checked(tmp_path):
    maps = open_maps([str(save(tmp_path / "rise", "1", "2")), str(save(tmp_path / "sobel", "1"))])
    with pytest.raises(InputError, match="no map 'sobel'"):
        check_ids(maps, ["1.jpg", "2.jpg"])


def test_two_images_do_not_share_a_map(tmp_path):
    maps = open_maps([str(save(tmp_path / "rise", "1"))])
    with pytest.raises(InputError, match=r"map '1' would serve two images, cat/1\.jpg and dog/1\.jpg"):
        check_ids(maps, ["cat/1.jpg", "dog/1.jpg"])
