"""Benchmarks: `make bench`, or `python -m bench increments` for one. Each prints what it measured, and says how."""
