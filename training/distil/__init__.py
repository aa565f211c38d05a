"""Distillation of an image encoder: the first stage of MedficientSAM's recipe."""
