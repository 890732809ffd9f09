"""Prefect flows and the `treeoflife` command."""
