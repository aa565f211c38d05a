"""SAM 2 and SAM 2.1 (Hiera tiny, small, base+, large), MedSAM2, and a small one that is trained here: segmentation that
remembers the frames before. `config.py` names them, `build.py` makes them.
"""
