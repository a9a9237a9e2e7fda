"""Benchmarks: each part prints figures that anyone can get again with `make bench ONLY=part`."""
