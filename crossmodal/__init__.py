"""crossmodal: the theory of cross-modal contributions in continual vision-language models, made checkable."""

__version__ = "0.1.0"
