"""Synthetic linear two-modality models: arithmetic, evaluation of statements, drawing of models, falsification."""
