"""Proofs on the user's own recipe: a run that is killed and resumed is the one that never was."""
