"""Named MedSegDiffs."""

import dataclasses

import models  # noqa: F401  (sets Jittor's environment first)
from models.medsegdiff.config import CONFIGS
from models.medsegdiff.unet import Unet
from models.sam.build import parameter_count  # noqa: F401
from models.weights import load_model as load_weights  # noqa: F401
from models.weights import save_model as save_weights  # noqa: F401


def build(name: str, **changes) -> Unet:
    """A freshly initialised denoiser in eval mode. name: a key of CONFIGS; changes: fields of MedSegDiffConfig to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no MedSegDiff is called {name!r}; known: {', '.join(CONFIGS)}")
    model = Unet(dataclasses.replace(CONFIGS[name], **changes))
    model.eval()
    return model
