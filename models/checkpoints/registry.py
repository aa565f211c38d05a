"""The models that checkpoints are converted for: where their keys and shapes come from, and where their files do.

A new family is a row of rules and a row a model in MODELS.
"""

import importlib
from dataclasses import dataclass

from models.checkpoints.convert import Rules
from models.checkpoints.errors import CheckpointError


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it.

    file     its name there. page: the project whose page leads to it. where: how to find it on that page
    sha256   hex digest; None where we know of none
    """

    file: str
    page: str
    where: str
    sha256: str | None = None


@dataclass(frozen=True)
class Model:
    """factory: "module:function", called with the model's name, returns the Jittor module whose state_dict is wanted.
    published: the files that convert to it; together: the files that make it up only together, the first first."""

    factory: str
    rules: Rules
    published: tuple[Published, ...] = ()
    together: tuple[Published, ...] = ()


# torch.compile and DDP wrap the module, MedficientSAM's fine-tuning module holds it as `model`, its distillation module the
# two encoders beside each other.
SAM = Rules(prefixes=(("_orig_mod.", ""), ("module.", ""), ("model.", ""), ("student_encoder.", "image_encoder."),
                      ("teacher_encoder.", None)))
_SAM_BUILD = "models.sam.build:build"
SAM2 = Rules(prefixes=(("_orig_mod.", ""), ("module.", "")))
_SAM2_BUILD = "models.sam2.build:build"

_SEGMENT_ANYTHING = ("https://github.com/facebookresearch/segment-anything", "model checkpoints in the README")
_MEDSAM = ("https://github.com/bowang-lab/MedSAM", "model checkpoint in the README of the branch main")
_LITEMEDSAM = ("https://github.com/bowang-lab/MedSAM", "checkpoint in the README of the branch LiteMedSAM")
_EFFICIENTVIT = ("https://github.com/mit-han-lab/efficientvit", "pretrained EfficientViT-SAM models, linked from the README")
_MEDFICIENTSAM = ("https://github.com/hieplpvip/medficientsam", "checkpoints in the README")
_SAM2 = ("https://github.com/facebookresearch/sam2", "checkpoints in the README")
_MEDSAM2 = ("https://github.com/bowang-lab/MedSAM2", "checkpoints in the README")

# The digests of SAM's files are those that many projects which fetch them check, micro_sam among them.
_SAM_B = Published("sam_vit_b_01ec64.pth", *_SEGMENT_ANYTHING,
                   "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912")
_SAM_L = Published("sam_vit_l_0b3195.pth", *_SEGMENT_ANYTHING,
                   "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622")
_SAM_H = Published("sam_vit_h_4b8939.pth", *_SEGMENT_ANYTHING,
                   "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e")
_MEDSAM_B = Published("medsam_vit_b.pth", *_MEDSAM)


def _efficientvit(size: str) -> Model:
    return Model(_SAM_BUILD, SAM, (Published(f"{size}.pt", *_EFFICIENTVIT),))


def _medficientsam(size: str) -> Model:
    page, where = _MEDFICIENTSAM
    finetuned = Published("best.ckpt", page, f"{where}, folder weights/finetuned-{size}-augmented")
    distilled = Published("step_400000.ckpt", page, f"{where}, folder weights/distilled-{size}")
    return Model(_SAM_BUILD, SAM, (finetuned,), (distilled, _MEDSAM_B))


def _sam2(version: str) -> dict[str, Model]:
    sizes = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
    return {f"sam{version}-{size}": Model(_SAM2_BUILD, SAM2, (Published(f"sam{version}_hiera_{name}.pt", *_SAM2),))
            for size, name in sizes.items()}


MODELS = {
    "sam-vit-b": Model(_SAM_BUILD, SAM, (_SAM_B,)),
    "sam-vit-l": Model(_SAM_BUILD, SAM, (_SAM_L,)),
    "sam-vit-h": Model(_SAM_BUILD, SAM, (_SAM_H,)),
    "medsam-vit-b": Model(_SAM_BUILD, SAM, (_MEDSAM_B,)),
    "litemedsam": Model(_SAM_BUILD, SAM, (Published("lite_medsam.pth", *_LITEMEDSAM),)),
    **{f"efficientvit-sam-{size}": _efficientvit(size) for size in ("l0", "l1", "l2", "xl0", "xl1")},
    **{f"medficientsam-{size}": _medficientsam(size) for size in ("l0", "l1", "l2")},
    **_sam2("2"), **_sam2("2.1"),
    "medsam2": Model(_SAM2_BUILD, SAM2, (Published("MedSAM2_latest.pt", *_MEDSAM2),)),
}


def model_of(name: str) -> Model:
    if name not in MODELS:
        raise CheckpointError(f"model must be one of {', '.join(MODELS)}; got {name}")
    return MODELS[name]


def expected(name: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """(shape by key, the facts that its weights carry as metadata) of a model, by building it in Jittor."""
    module, function = model_of(name).factory.split(":")
    try:
        net = getattr(importlib.import_module(module), function)(name)
    except ModuleNotFoundError as error:
        raise CheckpointError(f"{name} is built in Jittor, for its keys and shapes; the module {error.name} is missing: "
                              "pip install -r requirements-dev.txt") from error
    facts = net.facts() if hasattr(net, "facts") else {}
    return {key: tuple(map(int, value.shape)) for key, value in net.state_dict().items()}, facts


def published_as(digest: str) -> str | None:
    """The published file with this sha256; None where no such one is known."""
    for model in MODELS.values():
        for file in (*model.published, *model.together):
            if file.sha256 == digest:
                return file.file
    return None
