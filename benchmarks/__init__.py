"""Benchmarks against peers: `python -m benchmarks` measures, `python -m benchmarks.page` writes docs/benchmarks.md."""
