"""Models with weights that tell: no two alike, and activations that neither die nor saturate."""

import numpy as np


def randomise(model, seed=0):
    """Give every weight a value of its own; batch norms keep sane variances."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.5, 1.5) if "variance" in weight.path or "gamma" in weight.path else (-1, 1)
        scale = 1 if len(weight.shape) == 1 else np.sqrt(3 / np.prod(weight.shape[:-1]))
        weight.assign(rng.uniform(low, high, weight.shape) * scale)
    return model
