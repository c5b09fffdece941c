"""The app that the benchmarks load."""
