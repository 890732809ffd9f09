"""The library behind `treeoflife`: from provider archives to a scored tree-of-life model."""

__version__ = "0.1.0"
