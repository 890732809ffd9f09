"""Prefect tasks: each wraps one stage of `bioclip`.

Dask is named in `tasks.cluster` and `tasks.started_clusters` only, MLflow in `tasks.tracking` only.
"""
