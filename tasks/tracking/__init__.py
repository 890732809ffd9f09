"""MLflow: one run for each model and each evaluation, followed while it runs. Importing this package does not import MLflow."""
