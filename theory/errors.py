"""The one exception for a user's mistake: what was found, what was expected, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


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


def not_installed(package: str, extra: str, otherwise: str = "") -> InputError:
    """What to say where a package of one of the project's extras is missing.

    Args:
        otherwise: what may be done instead, if anything.
    """
    fix = f"pip install 'crossmodal[{extra}]'" + (f", or {otherwise}" if otherwise else "")
    return InputError(f"{package} is not installed", expected=f"the extra '{extra}'", fix=fix)
