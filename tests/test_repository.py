"""Facts that stand in two files agree."""

import json
import re
import tomllib
from pathlib import Path

import keras_mobilenet
from keras_mobilenet.nets import pretrained

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_changelog_opens_with_the_version():
    versions = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert next(v for v in versions if v != "Unreleased") == PROJECT["version"]
    assert keras_mobilenet.__version__ == PROJECT["version"]


def test_manifest_is_the_table_of_published_weights():
    manifest = json.loads((ROOT / "weights" / "manifest.json").read_text())
    assert manifest == pretrained.manifest()
    assert len(manifest) == 32


def test_pre_commit_runs_the_pinned_tools():
    pinned = {"ruff", "mypy"}
    assert pinned <= {d.partition("==")[0] for d in PROJECT["optional-dependencies"]["dev"]}
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert all(f"entry: {tool}" in hooks for tool in pinned)
    assert "rev:" not in hooks  # a pinned copy beside the project's own would drift


def test_readme_lists_every_folder_of_the_package():
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "keras_mobilenet").glob("*/__init__.py"):
        assert f"\n  {path.parent.name}/ " in readme, f"{path.parent.name} is not in the tree"


def test_readme_has_the_commands_that_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in (
        "python -m pip install . && keras-mobilenet summary --plot mobilenet.png",
        "python -m pip install -e '.[dev]' && python -m pytest",
    ):
        assert command in readme
        assert command in ci


def test_readme_pictures_and_links_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_no_large_file_is_tracked_beside_the_code():
    for folder in ("weights", "notebooks", "docs", "keras_mobilenet"):
        for path in (ROOT / folder).rglob("*"):
            assert not path.is_file() or path.stat().st_size < 1 << 20, path
