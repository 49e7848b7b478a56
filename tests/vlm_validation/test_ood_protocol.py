"""E5 and E6 on features small enough to check by hand, and the bounds on real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy
from crossmodal.theory.claims.d1_auroc_from_moments import CLAIM
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import ood_protocol as protocol
from crossmodal.vlm_validation.features import Features


def two_environments() -> Features:
    """Environment 0 around e1, environment 1 around e2, with one image of 1 that looks like 0."""
    s = np.sqrt(0.5)
    image = np.array([[1, 0], [1, 0], [s, s], [0, 1], [0, 1], [1, 0]])
    text = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1.0]])
    return Features(image=image, text=text, environment=np.repeat([0, 1], 3), label=np.repeat([0, 1], 3))


def test_pairwise_by_hand() -> None:
    table = protocol.pairwise_ood(two_environments())
    first, second = table.pairs
    assert (first.inside, first.outside, second.inside) == (0, 1, 1)
    # concept e1: in 1, 1, .71 against out 0, 0, 1: won 2.5 + 2.5 + 2 of 9
    assert first.concept.auroc == pytest.approx(7 / 9)
    # one class an environment: MCM is constant, which tells nothing apart
    assert first.mcm.auroc == 0.5
    # Con_IT(outside, inside) = mean of <u, e1> over environment 1
    assert first.con_IT == pytest.approx(1 / 3)
    gap = (2 + np.sqrt(0.5)) / 3 - 1 / 3
    variance = np.var([1, 1, np.sqrt(0.5)]) + np.var([0, 0, 1])
    assert first.bound_D1 == pytest.approx(gap**2 / (gap**2 + variance))
    own = ((2 + np.sqrt(0.5)) / 3) ** 2
    assert first.bound_D2 == pytest.approx(gap**2 / (gap**2 + 2 - own - 1 / 9))
    assert "no prompts" in table.prompts


def test_prompts_are_used_and_named(features: Features) -> None:
    with_prompts = replace(features, prompts=features.text[::3], metadata={"template": "a {}"})
    table = protocol.pairwise_ood(with_prompts)
    assert "template 'a {}'" in table.prompts
    assert table.pairs[0].mcm.score["temperature"] == 1.0
    without = protocol.pairwise_ood(features)
    assert [p.mcm.auroc for p in without.pairs] != [p.mcm.auroc for p in table.pairs]
    assert [p.concept.auroc for p in without.pairs] == [p.concept.auroc for p in table.pairs]


def test_bounds_hold_and_reversed_means_bound_nothing(features: Features) -> None:
    for pair in protocol.pairwise_ood(features).pairs:
        assert pair.bound_D2 <= pair.bound_D1 + 1e-12
        assert pair.bound_D1 <= pair.concept.auroc
    assert protocol.lower_bound_d1(-0.5, 0.1) == 0
    assert protocol.lower_bound_d2(0.0, 0.1) == 0


def test_a_changed_claim_is_noticed() -> None:
    """The bound is lowered from the claim; if its shape changes, the lowering must not go on silently."""
    relations = tuple(
        replace(r, rhs=r.rhs + sympy.Symbol("D", real=True)) if r.name == "cantelli" else r
        for r in CLAIM.statement.relations
    )
    changed = replace(CLAIM, statement=replace(CLAIM.statement, relations=relations))
    with pytest.raises(AssertionError, match="no longer reads"):
        protocol._solved(changed, "cantelli")


def test_cumulative_by_hand() -> None:
    s = np.sqrt(0.5)
    image = np.array([[1, 0], [s, s], [0, 1], [0, 1], [s, -s], [s, -s]])
    prompts = np.array([[1, 0], [0, 1], [s, -s]])
    features = Features(
        image=image, text=image, environment=np.repeat([0, 1, 2], 2), label=np.repeat([0, 1, 2], 2), prompts=prompts
    )
    reports = protocol.cumulative_ood(features, (1, 0, 2))
    assert [(r.n_in, r.n_out) for r in reports] == [(2, 4), (4, 2)]
    assert reports[0].auroc == 0.5  # one class seen
    # classes e1, e2: margins |<u,e1> - <u,e2>| are 1, 0, 1, 1 inside and 1.41, 1.41 outside
    assert reports[1].auroc == 0


def test_single_environment_is_refused(features: Features) -> None:
    single = features.select(features.environment == 0)
    with pytest.raises(InputError, match="two environments"):
        protocol.pairwise_ood(single)
    with pytest.raises(InputError, match="left to come"):
        protocol.cumulative_ood(single, (0,))


@pytest.mark.realdata
def test_real_ood_goes_against_contribution(coco500: Features) -> None:
    """P9 on real features: the lower Con_IT, the better the separation; and the bounds hold, D2 by a wide margin."""
    table = protocol.pairwise_ood(coco500)
    assert table.pearson_concept < -0.3
    assert table.mean_auroc["concept"] > 0.8
    for pair in table.pairs:
        assert pair.bound_D2 <= pair.bound_D1 + 1e-12
        assert pair.bound_D1 <= pair.concept.auroc
