"""Reports: a self-contained page on a release, the outcome of every provider row, and the scores of its model."""

from bioclip.report.stage import plan_report

__all__ = ["plan_report"]
