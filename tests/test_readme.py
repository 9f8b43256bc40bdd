"""The README's Python runs as it stands, and prints what it says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
ALONE = "# a program of its own"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", re.S)


def test_examples_print_what_the_readme_says(shared_data, tmp_path, monkeypatch, capsys):
    weights = shared_data / "weights" / "keras"
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(weights))
    shutil.copy(shared_data / "images" / "pictures" / "parrot.jpg", tmp_path)
    shutil.copy(weights / "mobilenet_2_5_224_tf.h5", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(README)
    alone = [block for block in blocks if block[0].startswith(ALONE)]
    assert len(alone) == 4
    assert len(blocks) > len(alone)
    for code, expected in blocks:
        if (code, expected) in alone:
            assert by_itself(code) == expected
        else:
            exec(code, names)
            assert rounded(capsys.readouterr().out) == rounded(expected)
    assert (tmp_path / "base.safetensors").exists()
    assert (tmp_path / "mobilenet.png").exists()


def by_itself(code):
    """Run a program that imports neither Keras nor this package; TensorFlow itself has Keras."""
    assert not re.search(r"import keras|from keras", code)
    assert len([line for line in code.splitlines() if line]) <= 12
    end = "import sys; assert 'keras_mobilenet' not in sys.modules\n"
    if "tensorflow" not in code:
        end += "assert 'keras' not in sys.modules\n"
    command = [sys.executable, "-c", code + end]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rounded(text):
    """Scores differ in their last digits between processors."""
    return re.sub(r"0\.\d+", lambda match: f"{float(match[0]):.3f}", text)
