"""Training of MedSegDiff: noise is added to masks, and the network learns to say which."""
