"""Checks of the arrays in a features file, field by field; each says what was found, expected, why and how to mend it.

`Features` runs them all (`features.py`), and shards of features run those of their own fields.  An array is returned as the
format wants it (float32 or float64, int64, tuples of strings); no value is changed, but where `as_normalised` was asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..theory.errors import InputError, counted

if TYPE_CHECKING:
    from .features import Features

NORM_TOLERANCE = 1e-3
NOTED = 1e-5  # float32 rounding of a unit vector stays below; half precision does not
COARSE = 2.0**-8  # by which bfloat16 rounds a number at most, and so a norm
BLOCK = 8192  # rows looked at together: what is checked may be a file larger than memory


def _array(value: Any, name: str, source: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:  # torch's and numpy's own
        raise InputError(
            f"{source}: {name} of type {type(value).__name__} is no array ({str(error).splitlines()[0][:200]})",
            expected="a numpy array, or a tensor on the CPU",
            causes=("a tensor with a gradient, in bfloat16 or on a GPU", "rows of different lengths"),
            fix=f"{name}.detach().float().cpu().numpy(), without float() where it holds ids",
        ) from None


def as_vectors(value: Any, name: str, source: str, minimum: int = 2) -> np.ndarray:
    array = _array(value, name, source)
    if array.dtype.kind != "f":
        raise InputError(
            f"{source}: {name} has type {array.dtype}", expected="float16, float32 or float64",
            causes=("an object array or a list of rows of different lengths",) if array.dtype.kind == "O"
            else ("pixels, token ids or quantised vectors were saved instead of features",),
            fix=f"save the encoder's output: {name}_embeds.float().numpy()",
        )  # fmt: skip
    if array.ndim != 2 or array.shape[0] < minimum or array.shape[1] < 1:
        raise InputError(
            f"{source}: {name} has shape {array.shape}", expected="(N, d), one row a sample, N >= 2",
            causes=("token-level or patch-level features",) if array.ndim > 2 else ("a single vector, or no data",),
            fix="pool to one vector a sample" if array.ndim > 2 else "stack the vectors: numpy.stack(list)",
        )  # fmt: skip
    array = np.ascontiguousarray(array, dtype=np.float64 if array.dtype.itemsize >= 8 else np.float32)
    bad = np.flatnonzero(~_by_rows(array, lambda block: np.isfinite(block).all(axis=1)))
    if len(bad):
        raise InputError(
            f"{source}: {name} holds NaN or infinity in {_listed(bad, len(array))}",
            expected="finite numbers",
            causes=("half-precision overflow in the encoder", "a corrupt image gave NaN", "division by a zero norm"),
            fix="encode these rows again in float32, or leave them out",
        )
    zero = np.flatnonzero(~_by_rows(array, lambda block: np.asarray(block.any(axis=1))))
    if len(zero):
        raise InputError(
            f"{source}: {name} is the zero vector in {_listed(zero, len(array))}",
            expected="unit vectors; the cosine with a zero vector is undefined",
            causes=("an empty caption or a missing image was encoded as zeros", "rows were allocated but not filled"),
            fix="encode these rows again, or leave them out",
        )
    return array


def _by_rows(array: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """One number a row, block by block."""
    return np.concatenate([measure(array[start : start + BLOCK]) for start in range(0, max(1, len(array)), BLOCK)])


def _norms(array: np.ndarray) -> np.ndarray:
    return _by_rows(array, lambda block: np.linalg.norm(block.astype(np.float64), axis=1))


def check_norms(array: np.ndarray, name: str, source: str) -> None:
    norms = _norms(array)
    off = np.flatnonzero(np.abs(norms - 1) > NORM_TOLERANCE)
    if len(off):
        rounded = ("unit vectors were rounded to bfloat16",) if np.abs(norms - 1).max() <= COARSE else ()
        raise InputError(
            f"{source}: {name} is not normalised: norms from {norms.min():.4g} to {norms.max():.4g}, "
            f"off in {_listed(off, len(array))}",
            expected=f"norm 1 within {NORM_TOLERANCE:g}, because every score is a cosine",
            causes=(*rounded, "the encoder's output was saved before it was normalised", "features of the wrong layer"),
            fix="pass --normalise (load_features(path, normalise=True)) if these are the right features",
        )


def as_normalised(value: Any, name: str, source: str) -> tuple[np.ndarray, list[str]]:
    array = as_vectors(value, name, source, minimum=1)
    norms = _norms(array)
    note = f"{name} was renormalised on request: {counted(len(array), 'row')}, norms from {norms.min():.6g} to {norms.max():.6g}"
    scaled = np.empty_like(array)
    for start in range(0, len(array), BLOCK):
        block = slice(start, start + BLOCK)
        scaled[block] = array[block] / norms[block, None]
    return scaled, [note]


def as_integers(value: Any, name: str, count: int, source: str) -> np.ndarray:
    array = _array(value, name, source)
    if array.dtype.kind not in "iu" and array.ndim <= 1:
        whole = array.dtype.kind == "b" or (array.dtype.kind == "f" and bool((array == np.floor(array)).all()))
        raise InputError(
            f"{source}: {name} has type {array.dtype}", expected="integers",
            causes=("a float or boolean array was saved",) if whole else ("names or measurements were stored instead of ids",),
            fix=f"{name}.astype(numpy.int64)" if whole
            else f"numpy.unique(names, return_inverse=True)[1] gives ids; names go to {name}_names",
        )  # fmt: skip
    if array.shape != (count,):
        raise InputError(
            f"{source}: {name} has shape {array.shape}", expected=f"({count},), one for each row of image",
            causes=("multi-label or one-hot labels",) if array.ndim == 2 else ("another subset of the data",),
            fix=f"one id a row; of one-hot labels: {name}.argmax(1)" if array.ndim == 2 else "save all arrays from the same rows",
        )  # fmt: skip
    wrong = np.flatnonzero((array < 0) | (array > np.iinfo(np.int32).max))
    if len(wrong):
        raise InputError(
            f"{source}: {name} is {_some(array[wrong])} in {_listed(wrong, count)}",
            expected=f"ids from 0 to {np.iinfo(np.int32).max}",
            causes=("-1 marks 'unknown'", "a hash was stored as an id"),
            fix="leave unknown rows out and number the rest from 0",
        )
    return array.astype(np.int64)


def check_range(array: np.ndarray, size: int, name: str, by: str, source: str) -> None:
    wrong = np.flatnonzero(array >= size)
    if len(wrong):
        raise InputError(
            f"{source}: {name} is {_some(array[wrong])} in {_listed(wrong, len(array))}, out of range",
            expected=f"0 to {size - 1}, because {by} has {counted(size, 'entry', 'entries')}",
            causes=("ids that start at 1", f"{by} of another data set"),
            fix=f"let ids start at 0, or give {by} an entry for every id",
        )


def check_distinct(names: Sequence[str], source: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{source}: environment_names has {twice[0]!r} more than once",
            expected="a name of its own for every environment: results are told apart by it",
            causes=("names of classes, or of every row, instead of environments",),
            fix="give every environment another name, or one id to those that are one",
        )


def as_strings(value: Any, name: str, count: int | None, source: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(items, str) or not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
        raise InputError(
            f"{source}: {name} is not a list of strings", expected="a one-dimensional array of unicode strings",
            causes=("bytes or numbers were stored",), fix=f"numpy.asarray({name}, dtype=str)",
        )  # fmt: skip
    if count is not None and len(items) != count:
        raise InputError(
            f"{source}: {name} has {counted(len(items), 'entry', 'entries')}", expected=f"{count}, one for each row of image",
            causes=("several captions for an image",), fix="keep the one caption whose feature is stored",
        )  # fmt: skip
    _check_unicode(items, name, source)
    return tuple(items)


def _check_unicode(items: Sequence[str], name: str, source: str) -> None:
    for row, item in enumerate(items):
        if not is_unicode(item):
            raise InputError(
                f"{source}: {name} holds {item!r} in entry {row}", expected="unicode text, which every file and terminal can hold",
                causes=("half of a character pair (\\ud800 to \\udfff), left by a broken conversion",), fix="write the text again",
            )  # fmt: skip


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: JSON can say half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_ids(value: Any, count: int, source: str) -> np.ndarray:
    array = _array(value, "ids", source)
    if array.dtype.kind not in "iuU" or array.shape != (count,):
        raise InputError(
            f"{source}: ids has type {array.dtype} and shape {array.shape}",
            expected=f"({count},) integers or strings", causes=("ids of another subset", "an object array"),
            fix="numpy.asarray(ids, dtype=str)",
        )  # fmt: skip
    if array.dtype.kind == "U":
        _check_unicode(array.tolist(), "ids", source)
    if array.dtype.kind == "u" and count and int(array.max()) > np.iinfo(np.int64).max:
        return array.astype(np.str_)  # 64-bit hashes: kept exactly, as text
    return array if array.dtype.kind == "U" else array.astype(np.int64)


def as_metadata(value: Any, source: str) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None if value == "" else value
    if value is not None and not isinstance(value, dict):
        raise InputError(
            f"{source}: metadata is {type(value).__name__}", expected="one JSON object as a unicode text",
            fix="numpy.savez(..., metadata=json.dumps({'encoder': ...}))",
        )  # fmt: skip
    return value or {}


def is_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def remarks_on(features: Features) -> list[str]:
    """What is allowed but should be known by whoever reads the results."""
    remarks = []
    for name in ("image", "text"):
        norms = _norms(getattr(features, name))
        if np.abs(norms - 1).max() > NOTED:
            remarks.append(
                f"norms of {name} are {norms.min():.6g} to {norms.max():.6g}, taken as they are: half precision?"
            )
    ids = features.environments
    if ids != tuple(range(len(ids))):
        remarks.append(f"environment ids are not contiguous: {', '.join(map(str, ids))}")
    if len(ids) == 1:
        remarks.append("a single environment: scores within it only, no transition and no order")
    labels, homes = np.unique(np.unique((features.label << 32) + features.environment) >> 32, return_counts=True)
    shared = labels[homes > 1].tolist()  # ids are below 2^31
    if shared:
        names = [features.label_names[c] if features.label_names else str(c) for c in shared[:5]]
        remarks.append(f"in more than one environment, {counted(len(shared), 'class', 'classes')}: {', '.join(names)}"
                       + (", ..." if len(shared) > 5 else ""))  # fmt: skip
    return remarks


def _listed(rows: np.ndarray, count: int) -> str:
    shown = ", ".join(map(str, rows[:5].tolist()))
    return f"{len(rows)} of {counted(count, 'row')} ({shown}{', ...' if len(rows) > 5 else ''})"


def _some(values: np.ndarray) -> str:
    """The different values, the first few of them."""
    different = np.unique(values).tolist()
    return " or ".join(map(str, different[:3])) + (", ..." if len(different) > 3 else "")
