"""The package as installed: light to import, a manifest napari takes whole, files as small and plain as promised."""

from __future__ import annotations

import ast
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_dinov3

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "napari_dinov3").rglob("*.py"))
HEAVY = ("dask", "matplotlib", "napari", "pandas", "qtpy", "scipy", "skimage", "sklearn", "torch", "transformers", "zarr")
LONGEST_FILE = 400
LONGEST_FUNCTION = 60


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-dinov3")


def loaded_by(statement: str) -> set[str]:
    """Run one statement in a new interpreter; return the top-level modules it loaded."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import napari_dinov3").isdisjoint(HEAVY)


def test_naming_the_version_loads_nothing_heavy() -> None:
    assert loaded_by("import napari_dinov3; napari_dinov3.__version__; dir(napari_dinov3)").isdisjoint(HEAVY)


def test_the_version_is_the_one_of_a_build() -> None:
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?(\.?(dev|a|b|rc|post)\d+)*(\+(?!unknown)[\w.]+)?", napari_dinov3.__version__)


@pytest.mark.parametrize("name", napari_dinov3.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(napari_dinov3, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_dinov3.no_such_name


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert importlib.resources.files("napari_dinov3").joinpath("py.typed").is_file()


def test_every_command_of_the_manifest_can_be_imported(manifest: PluginManifest) -> None:
    pytest.importorskip("qtpy.QtWidgets", reason="Qt does not load here", exc_type=ImportError)
    for command in manifest.contributions.commands or ():
        assert callable(import_python_name(command.python_name)), command.id


def test_every_contribution_names_a_command_that_exists(manifest: PluginManifest) -> None:
    known = {command.id for command in manifest.contributions.commands or ()}
    given = manifest.contributions
    used = [item.command for kind in (given.readers, given.writers, given.widgets) for item in kind or ()]
    used += [sample.command for sample in given.sample_data or () if hasattr(sample, "command")]
    used += [item.command for items in (given.menus or {}).values() for item in items if hasattr(item, "command")]
    assert set(used) <= known


def test_every_menu_of_the_manifest_is_one_napari_takes(manifest: PluginManifest) -> None:
    """An unknown menu passes ``npe2 validate`` and is dropped without a word, so napari's own list is asked."""
    constants = pytest.importorskip("napari._app_model.constants", reason="napari does not load here", exc_type=ImportError)
    own_submenus = {submenu.id for submenu in manifest.contributions.submenus or ()}
    assert set(manifest.contributions.menus or {}) - own_submenus <= {menu.value for menu in constants.MenuId.contributables()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_short_enough_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # what is read is the body: the docstring does not count against a function
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert (node.end_lineno or 0) - body[0].lineno < LONGEST_FUNCTION, f"{node.name} in {path.name}"


@pytest.mark.parametrize(
    "path",
    [*SOURCES, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_text_is_unfinished_or_names_a_folder_of_one_computer(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"\b(?:TODO|FIXME|XXX)\b|(?<![\w.:/])/(?:home|mnt|root|Users|work)/\w+", text)
    assert not found
