"""Measurements of Actonce on real processes. Run one as `python -m benchmarks.NAME`."""
