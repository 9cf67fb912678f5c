"""Looks at the data before a model does: what is wrong with it, how often, and in which rows."""
