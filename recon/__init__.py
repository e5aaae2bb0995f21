"""Reconciliation: rules as data, SQL text that runs on Spark and DuckDB with equal content (spec 07)."""
