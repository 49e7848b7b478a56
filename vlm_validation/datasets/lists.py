"""The versioned lists of environments that are shipped, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...theory.errors import InputError

_HERE = Path(__file__).parent


def environment_list(name: str) -> dict[str, Any]:
    """The shipped list `name` ("coco" or "cub"): `version`, `rule`, `environments` with a name each, and what they hold."""
    found: dict[str, Any] = json.loads((_HERE / f"{name}_environments.json").read_text(encoding="utf-8"))
    return found


def read_json(path: Path, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    """A JSON object with these keys.

    Raises:
        InputError: no such file, broken JSON, or a key missing.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file", expected=what, causes=("annotations of another split",), fix="download it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not readable as JSON ({error})", expected=what,
            causes=("a download that was cut short",), fix="download it again",
        ) from None  # fmt: skip
    missing = [key for key in keys if not isinstance(found, dict) or not isinstance(found.get(key), list)]
    if missing:
        raise InputError(
            f"{path}: no list {', '.join(missing)}",
            expected=what,
            causes=("another JSON file",),
            fix="name the official file",
        )
    return dict(found)
