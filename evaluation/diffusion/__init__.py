"""What a diffusion model makes of labelled images: how Dice depends on steps and samples, and where the samples disagree."""
