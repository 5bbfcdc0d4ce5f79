"""Listeners and the worker's data plane."""
