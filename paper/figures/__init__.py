"""One file a figure; its name is the name of the figure.  See `crossmodal.paper.results` for what a file defines."""
