"""The paper, built from computed results: figures, tables and a document (`crossmodal paper`).

build      the command: finds the figures, computes, draws and writes them
figures/   one file a figure: `compute(features, seed) -> Data`, `draw(data) -> Figure`, `CAPTION`
results    what a figure is drawn from, with its provenance; captions filled from it
style      the one style of all figures
gallery    the small images of the README: `python -m crossmodal.paper.gallery`
"""
