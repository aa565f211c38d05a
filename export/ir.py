"""ONNX to OpenVINO IR."""

from pathlib import Path

import openvino
from openvino.passes import ConstantFolding, Manager

FACTS_SECTION = "medseg"
"""The section of rt_info that holds the facts; the runtime reads them there."""


def write_ir(onnx_path: Path, xml_path: Path, facts: dict[str, str], f16: bool = False) -> list[Path]:
    """Write `xml_path` and the .bin beside it, and return both. facts: strings, written to rt_info. f16: store the
    weights in half precision (half the bytes; what runs is still float32)."""
    model = openvino.Core().read_model(onnx_path)
    # The ONNX reader leaves half a dozen operators behind each bias, which every start of the model would have to fold.
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    for key, value in facts.items():
        model.set_rt_info(str(value), [FACTS_SECTION, key])
    openvino.save_model(model, xml_path, compress_to_fp16=f16)
    return [xml_path, xml_path.with_suffix(".bin")]


def read_facts(xml_path: Path) -> dict[str, str]:
    """The facts of an IR, {} where it has none."""
    model = openvino.Core().read_model(xml_path)
    if not model.has_rt_info([FACTS_SECTION]):
        return {}
    return {key: str(value) for key, value in model.get_rt_info([FACTS_SECTION]).value.items()}
