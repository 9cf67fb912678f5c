"""Metrics, intervals, decisions, baselines."""
