"""Facts that stand in two files agree."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from test_architecture import ORDER

import keras_mobilenet
from keras_mobilenet.nets import pretrained

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT, ROOT / "keras_mobilenet")  # that pages name files from
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_changelog_opens_with_the_version():
    versions = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert next(v for v in versions if v != "Unreleased") == PROJECT["version"]
    assert keras_mobilenet.__version__ == PROJECT["version"]


def test_every_file_that_is_no_code_is_in_the_wheel():
    packaged = PYPROJECT["tool"]["setuptools"]["package-data"].items()
    named = [
        (ROOT / package.replace(".", "/"), glob) for package, globs in packaged for glob in globs
    ]
    files = {path for path in (ROOT / "keras_mobilenet").rglob("*") if path.is_file()}
    data = {path for path in files if path.suffix not in {".py", ".pyc"}}
    assert data == {path for folder, glob in named for path in folder.glob(glob)}


def test_manifest_is_the_table_of_published_weights():
    manifest = json.loads((ROOT / "weights" / "manifest.json").read_text())
    assert manifest == pretrained.manifest()
    assert len(manifest) == 2 * (16 + 22 + 6)


def test_pre_commit_runs_the_pinned_tools():
    pinned = {"ruff", "mypy"}
    assert pinned <= {d.partition("==")[0] for d in PROJECT["optional-dependencies"]["dev"]}
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert all(f"entry: {tool}" in hooks for tool in pinned)
    assert "rev:" not in hooks  # a pinned copy beside the project's own would drift


def test_readme_is_short_and_its_tree_is_in_the_order_of_imports():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 200
    tree = re.findall(r"^  ([a-z_]+)(?:/|\.py) ", readme, re.M)
    folders = {path.parent.name for path in (ROOT / "keras_mobilenet").glob("*/__init__.py")}
    assert [name for name in tree if name in ORDER] == [name for name in ORDER if name in tree]
    assert folders <= set(tree)


def test_readme_has_the_commands_that_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in (
        "python -m pip install . && keras-mobilenet summary --plot mobilenet.png",
        "python -m pip install -e '.[dev]' && python -m pytest",
    ):
        assert command in readme
        assert command in ci


def pages():
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "weights" / "README.md",
            *sorted((ROOT / "docs").glob("*.md"))]  # fmt: skip


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(page):
    """Return what GitHub calls a page's headings in links."""
    lines = re.findall(r"^#+ (.+)", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_readme_leads_to_every_page_of_docs():
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in readme, page.name


def test_modules_and_files_that_pages_name_are_there():
    for page in pages():
        text = page.read_text()
        for name in re.findall(r"`(keras_mobilenet(?:\.\w+)+)[`(]", text):
            path = ROOT / name.replace(".", "/")
            parent = path.parent.with_suffix(".py")
            known = parent.exists() and re.search(rf"\b{path.name}\b", parent.read_text())
            assert path.with_suffix(".py").exists() or path.exists() or known, name
        for name in re.findall(r"`([a-z0-9_/]+/[a-z0-9_]+\.py)`", text):
            assert any((folder / name).exists() for folder in FOLDERS), f"{page.name}: {name}"


def test_no_large_file_is_tracked_beside_the_code():
    for folder in ("weights", "notebooks", "docs", "keras_mobilenet"):
        for path in (ROOT / folder).rglob("*"):
            assert not path.is_file() or path.stat().st_size < 1 << 20, path
