"""Features of real and small models: scores, orders, training, sweeps and audits, and claims measured on them."""
