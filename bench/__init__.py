"""Benchmarks with peers, as ratios taken side by side in one run. Start at `__main__`."""
