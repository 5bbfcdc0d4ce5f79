"""Timings of single hot functions: `python -m bench.micro.NAME`, compiled or pure as the package is."""
