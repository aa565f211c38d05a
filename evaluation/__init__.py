"""Scores of masks against their truth (DSC, NSD, HD95, IoU), baselines to compare with, and pictures to look at."""
