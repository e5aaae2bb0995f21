"""The watchdog: knows whether the night published, outside Airflow and without Spark."""
