"""Benchmarks: each a ratio against a named baseline, both measured side by side in one run. See `benchmarks.report`."""
