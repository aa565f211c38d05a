"""Named roi networks."""

import dataclasses

import models  # noqa: F401  (sets Jittor's environment first)
from models.roi.config import CONFIGS
from models.roi.roi import Roi
from models.weights import load_model as load_weights  # noqa: F401
from models.weights import save_model as save_weights  # noqa: F401


def build(name: str, **changes) -> Roi:
    """A freshly initialised network in eval mode. name: a key of CONFIGS; changes: fields of RoiConfig to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no roi network is called {name!r}; known: {', '.join(CONFIGS)}")
    net = Roi(dataclasses.replace(CONFIGS[name], **changes))
    net.eval()
    return net
