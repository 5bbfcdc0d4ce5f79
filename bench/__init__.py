"""Benchmarks against rivals, as ratios within one run: `python -m bench`."""
