"""Continual training of the small dual encoder itself, one environment after another (E1, E2, E3 and E4, adaptive)."""
