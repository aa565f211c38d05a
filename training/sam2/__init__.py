"""SAM 2 in training on short clips: slices of volumes, images turned into clips, and the same organ of several patients."""
