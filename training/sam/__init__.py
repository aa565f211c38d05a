"""Training of the SAM family with boxes: MedSAM's recipe and the second stage of MedficientSAM's."""
