import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere

import pytest
from checkpoint_files import assign, random_arrays

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the files of {SHARED_DATA}, which is not there")
    return SHARED_DATA


@pytest.fixture(scope="session")
def donor():
    """A model whose every weight differs; to save from, never to load into."""
    import keras_mobilenet

    model = keras_mobilenet.MobileNet(weights=None, alpha=0.25)
    assign(model, random_arrays(alpha=0.25))
    return model
