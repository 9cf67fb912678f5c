"""tunewise beside transformers.Trainer on images: the output layer alone, and the whole model."""
