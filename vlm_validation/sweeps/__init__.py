"""Sweeps: cells named by the hash of their configuration, run on local processes or a Dask cluster, merged to a table."""
