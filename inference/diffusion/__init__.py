"""Diffusion of masks, in numpy: the schedule, how a mask is drawn with a denoiser, how many drawn masks become one. Networks
are trained by the same code that serves them.
"""
