"""Benchmarks beside the field's own tools: `python -m benchmarks [NAME ...] [--quick]`."""
