"""Volumes as they are published, to the npz of the challenge: `python -m training.prepare flare --help`.

volume reads NIfTI and turns it, intensity makes grey values 0..255, objects cleans labels, cases writes one case, report
says what was dropped and why; a module per layout (flare) finds the files.
"""
