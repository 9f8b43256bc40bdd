"""Keras' own tests, on this package's functions in the place of Keras'.

`python benchmarks/keras_tests.py` runs those that the installed Keras ships and that are about
MobileNet: `applications_test` and `imagenet_utils_test`. `test_application_base` is left out: it
fetches an image and the published weights; `tests/` holds its facts with what is at hand.
`model_visualization_test` is not in Keras' wheel: `tests/test_diagrams.py` has its cases.
More arguments go to pytest.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import pytest
from keras.src.applications import imagenet_utils, mobilenet

import keras_mobilenet.mobilenet as ours

TESTS = ("applications_test", "imagenet_utils_test")
FETCHES = "test_application_base"
_THEIRS = imagenet_utils.preprocess_input


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Scale with ours in the mode `"tf"`, which is MobileNet's; the others are other nets'."""
    if mode == "tf":
        return ours.preprocess_input(x, data_format=data_format)
    return _THEIRS(x, data_format=data_format, mode=mode)


class OfMobileNet:
    """A plugin of pytest's that leaves out what is about other nets, and what fetches."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that concern this package."""
        items[:] = [
            item
            for item in items
            if FETCHES not in item.name
            if "ApplicationsTest" not in item.nodeid or "_MobileNet_" in item.name
        ]


def main() -> int:
    """Run them and return pytest's exit status."""
    for name in ours.__all__:  # before the tests are imported: they keep what they import
        setattr(mobilenet, name, getattr(ours, name))
    imagenet_utils.preprocess_input = preprocess_input
    found = [importlib.util.find_spec(f"keras.src.applications.{name}") for name in TESTS]
    files = [str(spec.origin) for spec in found if spec]
    options = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "-W", "ignore"]
    return pytest.main([*files, *options, *sys.argv[1:]], [OfMobileNet()])


if __name__ == "__main__":
    sys.exit(main())
