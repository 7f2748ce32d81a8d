"""The results of runs: records, tables, figures, and the MLflow view of them."""
