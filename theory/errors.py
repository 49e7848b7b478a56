"""The one exception for a user's mistake: what was found, what was expected, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input, explained.  The command line prints it without a traceback and exits with status 2.

    Args:
        found: what was found and where: the file, the field, the shape or value.
        expected: what would have been accepted.
        causes: likely causes, most likely first.
        fix: what to do about it.
    """

    def __init__(self, found: str, *, expected: str = "", causes: Sequence[str] = (), fix: str = "") -> None:
        self.found, self.expected, self.causes, self.fix = found, expected, tuple(causes), fix
        lines = [found]
        if expected:
            lines.append(f"  expected: {expected}")
        if len(self.causes) == 1:
            lines.append(f"  likely cause: {self.causes[0]}")
        elif self.causes:
            lines.append("  likely causes:")
            lines.extend(f"    ({chr(ord('a') + i)}) {cause}" for i, cause in enumerate(self.causes))
        if fix:
            lines.append(f"  fix: {fix}")
        super().__init__("\n".join(lines))


def unknown_name(found: str, name: object, known: Sequence[str], *, fix: str) -> InputError:
    """What to say of a name that is none of those known; those near it are offered.

    Args:
        found: where it was found, with the name.
        known: all names there are, at least one.
    """
    near = get_close_matches(str(name), known)
    causes = (f"a typing error: {', '.join(near)}?",) if near else ("a typing error", "a name of another version")
    return InputError(found, expected=f"one of {', '.join(known)}", causes=causes, fix=fix)


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 pair``, ``2 pairs``; the noun's plural has an s where none is given."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def not_installed(package: str, extra: str, otherwise: str = "") -> InputError:
    """What to say where a package of one of the project's extras is missing.

    Args:
        otherwise: what may be done instead, if anything.
    """
    fix = f"pip install 'crossmodal[{extra}]'" + (f", or {otherwise}" if otherwise else "")
    return InputError(f"{package} is not installed", expected=f"the extra '{extra}'", fix=fix)
