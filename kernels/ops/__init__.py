"""One folder an operation: ``naive`` (readable), ``torch`` (any device), ``triton`` (CUDA)."""
