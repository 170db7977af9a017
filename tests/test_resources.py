"""Where shipped data is found, in a checkout and in an installed package."""

import tomllib
from pathlib import Path

import pytest

from c2i_fast import resources
from c2i_fast.resources import resource


def test_a_checkout_uses_its_top_level_folders():
    root = Path(__file__).resolve().parents[1]
    assert resource("export").resolve() == root / "export"
    assert resource("kernels").resolve() == root / "kernels"


@pytest.mark.parametrize("kind", ["kernels", "export"])
def test_an_installed_package_uses_its_own_copy_whatever_lies_beside_it(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "c2i_fast" / "resources.py"))
    (tmp_path / kind).mkdir()  # another project's, in site-packages
    assert resource(kind) == tmp_path / "c2i_fast" / f"_{kind}"


def test_a_checkout_is_known_by_its_pyproject(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "c2i_fast" / "resources.py"))
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "export").mkdir()
    assert resource("export") == tmp_path / "export"
    assert resource("kernels") == tmp_path / "c2i_fast" / "_kernels"


def test_the_wheel_ships_what_is_looked_for():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert shipped == {"kernels": "c2i_fast/_kernels", "export": "c2i_fast/_export"}
