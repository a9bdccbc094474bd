"""Months of facts and of audit records as Parquet files: written, read back, let go, brought back as they were."""
