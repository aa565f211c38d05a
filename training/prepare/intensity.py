"""Grey values 0..255 out of a scanner's: the rules are those of inference."""

from inference.formats.intensity import Percentiles, Window, to_uint8

__all__ = ["Percentiles", "Window", "rule_of", "to_uint8"]


def rule_of(modality: str, window: Window, percentiles: Percentiles) -> Window | Percentiles:
    """Only CT has a scale of its own."""
    return window if modality == "CT" else percentiles
