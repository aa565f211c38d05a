"""Named models of the SAM 2 family."""

import dataclasses

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam2.config import CONFIGS
from models.sam2.sam2_base import Sam2
from models.weights import load_model as load_weights  # noqa: F401
from models.weights import save_model as save_weights  # noqa: F401


def build(name: str, **changes) -> Sam2:
    """A freshly initialised model in eval mode. name: a key of CONFIGS; changes: fields of Sam2Config to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no SAM 2 is called {name!r}; known: {', '.join(CONFIGS)}")
    model = Sam2(dataclasses.replace(CONFIGS[name], **changes))
    model.eval()
    return model
