"""Benchmarks against comparable tools: `python -m benchmarks [NAME ...] [--quick]`."""
