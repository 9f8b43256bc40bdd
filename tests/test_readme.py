"""The README's Python runs as it stands, and prints what it says."""

import re
import shutil
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", re.S)


def test_examples_print_what_the_readme_says(shared_data, tmp_path, monkeypatch, capsys):
    weights = shared_data / "weights" / "keras"
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(weights))
    shutil.copy(shared_data / "images" / "pictures" / "parrot.jpg", tmp_path)
    shutil.copy(weights / "mobilenet_2_5_224_tf.h5", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(README)
    assert len(blocks) == 3
    for code, expected in blocks:
        exec(code, names)
        assert rounded(capsys.readouterr().out) == rounded(expected)
    assert (tmp_path / "base.safetensors").exists()
    assert (tmp_path / "mobilenet.png").exists()


def rounded(text):
    """Scores differ in their last digits between processors."""
    return re.sub(r"0\.\d+", lambda match: f"{float(match[0]):.3f}", text)
