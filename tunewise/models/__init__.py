"""Pretrained models: locating, loading, mapping, costing."""
