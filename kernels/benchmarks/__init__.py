"""Speed and memory of the kernels beside their peers."""
