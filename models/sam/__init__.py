"""The SAM family: SAM and MedSAM (ViT-B/L/H), LiteMedSAM (TinyViT), EfficientViT-SAM and MedficientSAM (L0-L2, XL0, XL1),
and two small ones that are trained here. `config.py` names them, `build.py` makes them.
"""
