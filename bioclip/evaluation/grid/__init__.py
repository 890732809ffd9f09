"""Any number of models on any number of benchmarks: each pair is one evaluation, kept and reused, and the scores are one table."""
