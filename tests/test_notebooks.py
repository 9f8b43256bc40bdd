"""Every notebook runs from top to bottom, and is stored without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.long

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")


# zmq's and tornado's own, when a kernel is started from a test
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebooks_run(shared_data, tmp_path, monkeypatch):
    """One after the other in one kernel, which loads Keras once; none sees another's names."""
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(shared_data / "weights" / "keras"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    all_of_them = nbformat.v4.new_notebook(
        metadata=nbformat.read(NOTEBOOKS[0], as_version=4).metadata
    )
    for path in NOTEBOOKS:
        (tmp_path / path.stem).mkdir()
        begin = f"%reset -f\n%cd -q {tmp_path / path.stem}"
        all_of_them.cells.append(nbformat.v4.new_code_cell(begin))
        all_of_them.cells += nbformat.read(path, as_version=4).cells
    NotebookClient(all_of_them, timeout=300).execute()
    for path in NOTEBOOKS:
        assert (tmp_path / path.stem / "mobilenet.png").stat().st_size > 0
