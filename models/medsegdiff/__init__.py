"""MedSegDiff (Wu et al. 2022, arXiv 2211.00611): segmentation by diffusion, with ensembles of its samples; S, B, L, ++ and a
small one that is trained here. `config.py` names them, `build.py` makes them; `inference/diffusion/` has the diffusion itself.
"""
