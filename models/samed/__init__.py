"""SAMed, SAMed_s and SAMed_h (Zhang & Liu 2023, arXiv 2304.13785): SAM without prompts, one mask a class, adapted by LoRA;
and a small one that is trained here. `config.py` names them, `build.py` makes them.
"""
