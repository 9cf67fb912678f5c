"""Proof that every method works with every kind of model, or is refused with a reason."""
