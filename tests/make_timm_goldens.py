"""Write what timm makes of folders that were converted for it: `timm_folders.json`.

Run by hand, with the real timm; the tests only read what it wrote:

    python -m pip install torch==2.13.0 timm==1.0.31
    python tests/make_timm_goldens.py

Of each folder: which bits were opened, and the logits. Of each model that timm has: a hash of its
arrays' names and shapes.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from make_goldens import FOLDER, import_timm
from timm_cases import CASES, CLASSES, digest, image

from keras_mobilenet.checkpoints.writing.timm_folder import write_timm_folder
from keras_mobilenet.formats.plain.timm_models import models

GOLDENS = FOLDER / "timm_folders.json"


def opened(case):
    """Return what the real timm says of a folder that was written for it."""
    import timm
    import torch

    with tempfile.TemporaryDirectory() as folder:
        write_timm_folder(folder, case.weights(case.sizes[0]))
        net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    logits = {}
    for size in case.sizes:
        pixels = image(size, case.channels).transpose(0, 3, 1, 2)
        with torch.no_grad():
            logits[str(size)] = net(torch.from_numpy(pixels.copy()))[0].numpy()[:CLASSES].tolist()
    return {"opened": digest(state), "logits": logits}


def shapes(name):
    """Return a hash of the names and shapes of a model's arrays, of `CLASSES` classes."""
    import timm
    import torch

    with torch.device("meta"):
        net = timm.create_model(name, num_classes=CLASSES)
    found = net.state_dict().items()
    return digest({n: np.zeros(tuple(x.shape), np.int8) for n, x in found})


def main():
    import_timm()
    found = {
        "folders": {name: opened(case) for name, case in CASES.items()},
        "models": {model.name: shapes(model.name) for model in models()},
    }
    Path(GOLDENS).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
