"""The peers: what the guides to fine-tuning print, and the same tuned by somebody who knows it."""
