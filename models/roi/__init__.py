"""`roi`: crop the box, segment the crop. Ours: small, trained here, the default of `predict.sh`.

    from models.roi.build import build, load_weights, save_weights
"""
