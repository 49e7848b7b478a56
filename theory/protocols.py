"""What a claim's `bind` and `on_features` may use, so that claim files import no array library.

`crossmodal.synthetic.arithmetic` provides `Ops` four times: exact rationals, float64 with a proven error bound, and plain
batched float64 with the models along the first axis or the last.  Every value is a matrix, possibly with batch axes in front,
so that everything broadcasts: a scalar is ``1 x 1`` (plain numbers are welcome too), the value of a `Vector` symbol is a row
``1 x d``, a `matrix(.., "d", 1)` is a column ``d x 1``.  Arrays support ``+ - * @`` and slicing.  An element of L2 (a random
vector given by N equally likely rows) is ``N x d``, and `Inner` of such values is the mean over rows of the products of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Ops(Protocol):
    """An arithmetic.  Every function works on one model or on a batch of models of equal size."""

    def ratio(self, p: int, q: int) -> Any: ...  # the number p/q
    def T(self, x: Any) -> Any: ...  # transpose of the last two axes
    def rows(self, x: Any) -> int: ...  # number of rows
    def eye(self, like: Any) -> Any: ...  # identity, as many rows as `like`
    def ones(self, rows: int, cols: int, like: Any) -> Any: ...
    def inv(self, x: Any) -> Any: ...  # inverse of a square matrix
    def strictly_lower(self, x: Any) -> Any: ...
    def diagonal(self, x: Any) -> Any: ...  # diagonal of a matrix, as a vector (1 x d)
    def trace(self, x: Any) -> Any: ...
    def total_square(self, x: Any) -> Any: ...  # squared Frobenius norm
    def row(self, x: Any, k: int) -> Any: ...  # row k, a vector (1 x d)
    def slice_row(self, x: Any, k: int) -> Any: ...  # the same as row
    def entry(self, x: Any, i: int, j: int) -> Any: ...
    def column(self, vector: Any) -> Any: ...  # vector as a d x 1 matrix
    def vector(self, column: Any) -> Any: ...  # d x 1 matrix as a vector
    def mean_row(self, x: Any) -> Any: ...  # mean of the rows, as a vector
    def mean_entry(self, x: Any) -> Any: ...  # mean of all entries
    def mean_square(self, x: Any) -> Any: ...  # mean squared length of the rows
    def sample(self, x: Any) -> Any: ...  # the rows as one element of L2 (inner product: mean over rows)
    def constant(self, vector: Any, rows: int) -> Any: ...  # a constant element of the same L2
    def outer(self, x: Any, y: Any) -> Any: ...  # of two vectors, a matrix
    def sqrt(self, x: Any) -> Any: ...
    def exp(self, x: Any) -> Any: ...  # an enclosure in exact arithmetic
    def log(self, x: Any) -> Any: ...  # an enclosure in exact arithmetic
    def reciprocal(self, x: Any) -> Any: ...  # 1/x, entrywise
    def maximum(self, x: Any, y: Any) -> Any: ...
    def max_entry(self, x: Any) -> Any: ...
    def min_entry(self, x: Any) -> Any: ...
    def absolute(self, x: Any) -> Any: ...
    def positive(self, x: Any) -> Any: ...  # 1 where x > 0, else 0
    def flatten(self, x: Any) -> Any: ...  # a matrix as a vector (Frobenius inner product)
    def inner(self, x: Any, y: Any) -> Any: ...  # of two vectors or elements of L2


class View(Protocol):
    """A user's features, as claims see them; `environments` are the ids, ascending."""

    environments: Sequence[int]

    def name(self, env: int) -> str: ...
    def count(self, env: int) -> int: ...
    def image(self, env: int) -> Any: ...  # N_env x d
    def text(self, env: int) -> Any: ...
    def onehot(self, env: int) -> Any: ...  # N_env x C labels
    def class_texts(self, env: int) -> Any: ...  # mean text of every class, one row a class; zero where it is absent
    def prototypes(self, env: int) -> Any: ...  # class means of the image features, one row a class
    def mean(self, x: Any) -> Any: ...  # mean row, as a vector (1 x d)
    def stack(self, vectors: Sequence[Any]) -> Any: ...  # vectors as rows
    def normalise(self, x: Any) -> Any: ...  # rows to unit length
    def span(self, *x: Any) -> tuple[Any, ...]: ...  # the same inner products, in no more coordinates than rows
    def projector(self, x: Any) -> Any: ...  # an exact projector, on the rows' span less faint directions
    def column(self, vector: Any) -> Any: ...  # d x 1
    def scores(self, rows: Any) -> Sequence[Sequence[float]]: ...  # inner products of the rows, as plain numbers
    def sorted_cosines(self, rows: Any) -> bool: ...  # 0 <= c12 <= c23 <= c13
