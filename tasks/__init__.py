"""Prefect tasks: each wraps one stage of `bioclip`. Dask is named in `tasks.cluster` only, MLflow in `tasks.tracking` only."""
