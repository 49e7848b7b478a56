"""An audit of anybody's run: what moved, which theorem's terms the losses changed by, which assumptions failed."""

from .report import Audit, audit, steps
from .run import Head, Run, make_run, read_head, read_run

__all__ = ["Audit", "Head", "Run", "audit", "make_run", "read_head", "read_run", "steps"]
