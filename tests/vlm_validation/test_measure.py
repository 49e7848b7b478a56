"""A claim on features: the worst instance counts, and one that is not decided is said to be."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from crossmodal.theory import registry
from crossmodal.theory.claim import Claim
from crossmodal.theory.language import Relation
from crossmodal.theory.sequences import MOST
from crossmodal.vlm_validation.features import Features
from crossmodal.vlm_validation.generated import generated_features
from crossmodal.vlm_validation.measure import measure
from crossmodal.vlm_validation.view import FeaturesView

JOINT = sympy.Symbol("J", real=True)
LOOSE = Relation("loose", 0, "<=", sympy.Symbol("p", real=True))
WHERE = {"a square": "square", "a huge one": "huge", "the usual": ""}


def claim_on(names: list[str]) -> Claim:
    """C2 on the first environment: as it is, with numbers so large that the interaction is inf - inf, and with a head that is no linear one."""
    claim = registry.get("C2")
    usual: Any = claim.on_features

    def on_features(view: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
        _, inputs = next(iter(usual(view)))
        for name in names:
            more: dict[str, Any] = {"square": [[1]]} if WHERE[name] == "square" else {}
            if WHERE[name] == "huge":
                more = {"w": inputs["w"] * 10**300 * 10**300}
            yield name, {**inputs, **more}

    return replace(claim, on_features=on_features)


@pytest.mark.parametrize("names", [["a huge one", "the usual", "the usual"], ["the usual", "a huge one"]])
def test_an_instance_without_a_number_is_said(names: list[str], features: Features) -> None:
    found = measure(claim_on(names), features)
    at, judgement = found.worst["zero"]
    assert at == "a huge one"
    assert math.isnan(judgement.slack)
    assert (found.instances, found.violations) == (len(names), 0)
    assert found.summary == f"undecided on 1 of {len(names)}: 'zero' on a huge one, no number"
    assert json.loads(json.dumps(found.to_json()))["worst"]["zero"]["status"] == "undecided"


@pytest.mark.parametrize("names", [["a huge one", "a square"], ["a square", "a huge one"]])
def test_a_violation_is_not_hidden_by_it(names: list[str], features: Features) -> None:
    claim = claim_on(names)
    found = measure(replace(claim, statement=replace(claim.statement, assumptions=())), features)
    assert found.worst["zero"][0] == "a square"
    assert found.violations == 1
    assert found.summary.startswith("FAILS on 1 of 2, by ")


@pytest.mark.parametrize("turned", [False, True])
def test_what_another_relation_says_hides_it_neither(turned: bool, features: Features) -> None:
    claim = claim_on(["the usual", "a huge one"])
    relations = (registry.relation("C2", "zero"), LOOSE)
    statement = replace(claim.statement, relations=relations[::-1] if turned else relations)
    assert (
        measure(replace(claim, statement=statement), features).summary
        == "undecided on 1 of 2: 'zero' on a huge one, no number"
    )


def test_what_holds_holds(features: Features) -> None:
    claim = claim_on(["the usual", "the usual"])
    assert measure(claim, features).summary == "holds on 2"
    loose = replace(claim, statement=replace(claim.statement, relations=(LOOSE,)))
    assert measure(loose, features).summary == "holds on 2, least slack 0.5"


@pytest.mark.parametrize(
    ("error", "says"), [(1e-8, "holds on 2"), (2e-8, "undecided on 2 of 2: 'zero' on the usual, 1.0e+00 +- 2.0e-08")]
)
def test_an_equation_known_to_few_digits_is_not_said_to_hold(error: float, says: str, features: Features) -> None:
    """Nor an inequality: its enclosure contains 0 because it is wide."""
    claim = claim_on(["the usual", "the usual"])

    def bind(inputs: Mapping[str, Any], ops: Any) -> Mapping[str, Any]:
        wide = ops.wrap(torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), error, dtype=torch.float64))
        return {**claim.bind(inputs, ops), "J": wide}

    for relation in (Relation("zero", JOINT, "==", 0), Relation("zero", JOINT, "<=", 0)):
        one = replace(claim, bind=bind, statement=replace(claim.statement, relations=(relation,), assumptions=()))
        found = measure(one, features)
        assert found.summary == says
        assert found.undecided == (2 if says.startswith("undecided") else 0)
        assert found.violations == 0


def test_the_rule_is_measured_in_both_directions() -> None:
    """A cheapest order and its reverse cost the same: five environments hold five sets of four, and ten such orders."""
    claim = registry.get("P7")
    for seed in range(4):
        labels = [label for label, _ in claim.on_features(FeaturesView(generated_features(seed)))]
        orders = [tuple(label.removeprefix("cheapest order ").split(", ")) for label in labels]
        assert len(orders) == 10
        assert {order[::-1] for order in orders} == set(orders)


def many(environments: int) -> Features:
    rows = np.random.default_rng(0).normal(size=(2 * environments, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    environment = np.repeat(np.arange(environments), 2)
    return Features(image=rows, text=rows, environment=environment, label=environment)


def test_orders_of_many_environments_are_not_listed() -> None:
    """Of nine they take 60 MB, of twelve more than there is."""
    on_features = registry.get("T3.7").on_features
    assert on_features is not None
    view = FeaturesView(many(9))
    tracemalloc.start()
    try:
        assert len(list(on_features(view))) == 24
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claim_id", ["T3.8", "P7"])
def test_groups_of_many_environments_are_few(claim_id: str) -> None:
    """Otherwise P7 alone takes hours for the 303600 groups of 25 environments."""
    on_features = registry.get(claim_id).on_features
    assert on_features is not None
    labels = [label for label, _ in on_features(FeaturesView(many(MOST + 1)))]
    assert labels
    assert any(f"environment {MOST - 1}" in label for label in labels)
    assert not any(f"environment {MOST}" in label for label in labels)


def test_a_mean_without_a_direction_is_said() -> None:
    """Two opposite images in an environment: T3.7 has no direction to speak of, and the other claims go on."""
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    features = Features(image=rows, text=rows, environment=np.repeat([0, 1, 2], 2), label=np.arange(6))
    assert "no number" in measure(registry.get("T3.7"), features).summary


def numbers(value: Any) -> bytes:
    return np.asarray(value.mid if hasattr(value, "mid") else value).tobytes()


@pytest.mark.parametrize("claim_id", [c.id for c in registry.all_claims() if c.on_features is not None])
def test_what_is_measured_on_features_is_taken_from_them(claim_id: str) -> None:
    """Mutant: an instance written by hand, which would hold on anybody's features."""
    seen = []
    for seed in (0, 1):
        view = FeaturesView(generated_features(seed=seed))
        seen.append(
            [
                {numbers(v) for v in inputs.values()}
                for _, inputs in registry.get(claim_id).on_features(view)  # type: ignore[misc]
            ]
        )
    for one, other in zip(*seen, strict=False):
        assert one != other
