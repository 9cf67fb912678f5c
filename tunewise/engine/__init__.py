"""Training: plans applied, the loop, checkpoints, the model handed over."""
