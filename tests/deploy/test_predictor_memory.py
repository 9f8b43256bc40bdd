"""A Predictor that answers for days holds as much memory as on its first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' /proc")
def test_memory_does_not_grow_from_a_thousand_to_ten_thousand_predictions():
    # In a process of its own: what other tests hold, or give back, is not the predictor's.
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "memory.py", "--engine", "litert",
         "--alpha", "0.25", "--size", "96"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "after 10,000 predictions" in result.stdout, result.stderr
    assert result.returncode == 0, result.stdout
