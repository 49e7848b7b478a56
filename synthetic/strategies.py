"""Hypothesis strategies for the models of a claim, in exact rationals (needs the `test` extra).

One in three models is a tight instance moved a little; degenerate ones (repeated, opposite and orthogonal rows, projectors of
rank 0 and d, weights at a corner) are frequent.  Hypothesis drives the random numbers, so failures shrink.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ..theory.claim import Claim
from .draw import draw_input, near, sizes


@st.composite
def models(draw: st.DrawFn, claim: Claim) -> dict[str, Any]:
    """Inputs of a claim, as for `draw.draw_exact`."""
    rng = draw(st.randoms(use_true_random=False))
    if claim.tight and draw(st.integers(0, 2)) == 0:
        return near(claim, draw(st.sampled_from(list(claim.tight))).values, rng)
    chosen = sizes(claim, rng)
    return {spec.name: draw_input(spec, rng, chosen) for spec in claim.inputs}
