"""Tests run in as many processes as there are cores, so each computes in one thread: threads that wait for others are many times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are imported; subprocesses inherit it
