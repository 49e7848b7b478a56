"""Installs versions of Triton side by side, each in its own ignored folder; nothing is installed twice."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.6.0", "3.7.1", "3.9.0")
PAIRED = "3.7.1"  # with the torch of constraints.txt


def folder(version: str) -> Path:
    """``build/triton-<version>`` with that version in it.

    Raises:
        RuntimeError: it could not be downloaded; the message says why.
    """
    target = ROOT / "build" / f"triton-{version}"
    target.parent.mkdir(exist_ok=True)
    with open(target.with_suffix(target.suffix + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers come here at the same time
        done = target / "installed"
        if not done.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            run = subprocess.run(
                [*pip, "--upgrade", "--target", str(target), f"triton=={version}"], capture_output=True, text=True
            )
            if run.returncode:
                raise RuntimeError(f"triton {version} could not be installed: {run.stderr.strip()[-500:]}")
            done.touch()
    return target


def environment(version: str, **more: str) -> dict[str, str]:
    """Variables for a process that imports that version, with a compile cache of its own."""
    path = os.pathsep.join(filter(None, [str(folder(version)), os.environ.get("PYTHONPATH", "")]))
    cache = str(ROOT / "build" / f"triton-cache-{version}")
    return {**os.environ, "PYTHONPATH": path, "TRITON_CACHE_DIR": cache, **more}
