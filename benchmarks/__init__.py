"""Benchmarks: ours beside what else there is, in one run."""
