"""crossmodal: the theory of cross-modal contributions in continual vision-language models, made checkable."""

from pathlib import Path as _Path

__version__ = "0.1.0"


# In a clone the sibling folders are this package's parts; without this, `python` started at the root of the clone
# would find this folder first and none of them.
_root = _Path(__file__).parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "theory").is_dir():
    __path__.append(str(_root))
