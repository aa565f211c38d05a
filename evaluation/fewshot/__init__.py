"""Few-shot segmentation without training: `python -m evaluation.fewshot --help`.

A tracker is shown a slice of another scan with its mask, and follows the label through the slices of a volume (FS-MedSAM2,
Bai et al. 2024, arXiv 2409.04298). data reads the layout of files, protocols says which frames and prompts the tracker gets,
picture how a slice becomes its input, results counts pixels and keeps them, montage draws.
"""
