"""Training of the SAMed family: LoRA on SAM, no prompts, a class a mask; and of what it is compared with."""
