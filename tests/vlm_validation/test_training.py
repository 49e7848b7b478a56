"""Training one environment after another: what stays constant when frozen, what moves otherwise, same seed same bytes."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from crossmodal.theory.errors import InputError
from crossmodal.vlm_validation import metrics
from crossmodal.vlm_validation.orders import train_orders
from crossmodal.vlm_validation.training import loop
from crossmodal.vlm_validation.training.data import Choice, Environments, load_environments
from crossmodal.vlm_validation.training.loop import Measurement, Trainer, run_order
from crossmodal.vlm_validation.training.protocol import WIDEST, Protocol, config_hash, generator_of

pytest.importorskip(
    "transformers", reason="the extra 'vlm' is not installed, so the shipped dual encoder was not trained"
)

CHOICE = Choice(environments=3, train=12, judged=12)
FROZEN = Protocol(epochs=2, batch=6)
FULL = Protocol(mode="full", epochs=2, batch=6)
LORA = Protocol(mode="lora", epochs=2, batch=6, encoder_rate=0.1)
modes = pytest.mark.parametrize("protocol", [FROZEN, FULL, LORA], ids=lambda p: p.mode)


@pytest.fixture(scope="module")
def environments() -> Environments:
    return load_environments(CHOICE)


def same(a: Measurement, b: Measurement) -> bool:
    return a.to_dict() == b.to_dict()


def test_frozen_leaves_alignment_and_contrastive_loss_exactly_constant(environments: Environments) -> None:
    """T2.6 and T1.7: to the last bit, whatever lambda, seed and order."""
    runs = [
        run_order(environments, replace(FROZEN, weight=weight), seed, order, every_epoch=True)
        for weight, seed, order in ((0.0, 0, (0, 1, 2)), (5.0, 0, (0, 1, 2)), (5.0, 1, (2, 0, 1)))
    ]
    first = runs[0].records[0]
    for record in [r for run in runs for r in (*run.records, *(e for stage in run.epochs for e in stage))]:
        for name in ("clv", "clip"):
            assert np.array_equal(getattr(record, name), getattr(first, name))
        assert all(np.array_equal(record.con[key], first.con[key]) for key in first.con)
    # The head's trajectory does not feel lambda, but it does feel seed and order.
    assert same(runs[0].records[-1], runs[1].records[-1])
    assert not np.array_equal(runs[1].records[-1].ce, runs[2].records[-1].ce)
    assert runs[0].records[-1].ce.sum() < first.ce.sum()


@pytest.mark.parametrize("protocol", [FULL, LORA], ids=lambda p: p.mode)
def test_adaptive_moves_what_frozen_does_not(environments: Environments, protocol: Protocol) -> None:
    records = {}
    for weight in (0.0, 1.0, 5.0):
        run = run_order(environments, replace(protocol, weight=weight), 0, (0, 1, 2))
        assert not np.array_equal(run.records[0].clv, run.records[-1].clv)
        records[weight] = run.records[-1]
    assert not np.array_equal(records[0.0].clip, records[5.0].clip)
    assert not np.array_equal(records[1.0].clip, records[5.0].clip), (
        "lambda weighs the loss, it does not only switch it on"
    )


@modes
def test_same_seed_same_bytes_and_prefixes_are_shared(environments: Environments, protocol: Protocol) -> None:
    a, b = (run_order(environments, protocol, 0, order) for order in ((1, 0, 2), (1, 2, 0)))
    assert same(a.records[0], b.records[0])
    assert same(a.records[1], b.records[1])
    assert not same(a.records[2], b.records[2])
    assert [r.to_dict() for r in a.records] == [
        r.to_dict() for r in run_order(environments, protocol, 0, (1, 0, 2)).records
    ]


def test_minibatches_depend_on_seed_and_on_the_whole_prefix(environments: Environments) -> None:
    """From one state, on one environment: another seed or another way there, another step."""
    trainer, other = Trainer(environments, FROZEN, 0), Trainer(environments, FROZEN, 1)
    start = trainer.start()
    heads = [
        t.stage(start, p)["head"] for t, p in ((trainer, (0,)), (trainer, (1, 0)), (trainer, (2, 1, 0)), (other, (0,)))
    ]
    assert torch.equal(heads[0], trainer.stage(start, (0,))["head"])
    assert not any(torch.equal(heads[i], heads[j]) for j in range(4) for i in range(j))


@pytest.mark.parametrize("reset", ["environment", "never"])
@pytest.mark.parametrize("mode", ["frozen", "lora"])
def test_a_stored_state_goes_on_as_if_nothing_happened(environments: Environments, mode: str, reset: str) -> None:
    from safetensors.torch import load, save

    protocol = Protocol(mode=mode, epochs=2, batch=6, optimiser="adamw", head_rate=0.05, encoder_rate=1e-3, reset=reset)
    trainer = Trainer(environments, protocol, 0)
    state = trainer.stage(trainer.start(), (2,))
    assert any(key.startswith("optimiser/") for key in state) == (reset == "never")
    straight = trainer.measure(trainer.stage(state, (2, 0)))
    another = Trainer(environments, protocol, 0)
    assert same(straight, another.measure(another.stage(load(save(state)), (2, 0))))
    if reset == "never":  # dropping the moments would change the run
        bare = {key: value for key, value in state.items() if not key.startswith("optimiser/")}
        assert not same(straight, another.measure(another.stage(bare, (2, 0))))


def test_matrices_follow_the_conventions(environments: Environments) -> None:
    run = run_order(environments, FULL, 0, (2, 0, 1))
    R = run.matrix("accuracy")
    assert R.shape == (4, 3)
    assert R[1, 0] == run.records[1].accuracy[2]
    assert metrics.bwt(R, convention="gem").value == pytest.approx(((R[3] - np.diagonal(R[1:]))[:-1]).mean())
    total = run.matrix("loss", weight=0.5)
    assert np.allclose(total - run.matrix("loss"), 0.5 * np.stack([r.clip for r in run.records])[:, [2, 0, 1]])


def test_full_batch_frozen_descent_is_that_of_the_order_experiment(environments: Environments) -> None:
    """An independent implementation: the batched descent of E3, on the features this loop sees."""
    protocol = Protocol(epochs=5, batch=0, head_rate=5.0)
    trainer = Trainer(environments, protocol, 0)
    sides = [tuple(x.detach() for x in trainer._encode(s, slice(None), True)) for s in environments.train]
    mirrored = replace(environments, judged=environments.train)
    features = loop.features_of(mirrored, sides, [s.label for s in environments.train])
    runs = train_orders(features, steps=5, step=5.0, progress=False)
    found = run_order(mirrored, protocol, 0, runs.orders[3])
    np.testing.assert_allclose(found.matrix("loss"), runs.loss[0, 3], atol=2e-5)
    assert all(same(*pair) for pair in zip(found.fitted, found.records, strict=True))


def test_measured_numbers_by_hand(environments: Environments) -> None:
    trainer = Trainer(environments, FULL, 0)
    record = trainer.measure(trainer.start())
    assert record.ce == pytest.approx(np.log(environments.classes))
    with torch.no_grad():
        u, v = (x.double().numpy() for x in trainer._encode(environments.judged[1], slice(None), True))
    assert record.clv[1] == pytest.approx((u * v).sum(axis=1).mean())
    z = FULL.tau * u @ v.T
    by_hand = [np.log(np.exp(z - z.max()).sum(axis=a)) + z.max() - np.diagonal(z) for a in (0, 1)]
    assert record.clip[1] == pytest.approx(np.mean(by_hand))
    assert record.con["IT"][0, 1] == pytest.approx(
        float(
            trainer._encode(environments.judged[0], slice(None), False)[0].detach().mean(0)
            @ torch.tensor(v.mean(0)).float()
        ),
        abs=1e-6,
    )


def test_lora_begins_at_the_checkpoint_and_leaves_it_alone(environments: Environments) -> None:
    lora, frozen = Trainer(environments, LORA, 0), Trainer(environments, FROZEN, 0)
    assert same(lora.measure(lora.start()), frozen.measure(frozen.start()))
    before = {name: p.detach().clone() for name, p in lora._model.named_parameters() if "lora_" not in name}
    state = lora.stage(lora.start(), (0,))
    assert all(torch.equal(p, before[name]) for name, p in lora._model.named_parameters() if name in before)
    assert set(state) == {"head", *(f"encoder/{n}" for n, _ in lora._model.named_parameters() if "lora_" in n)}
    ends = tuple(f"{name}.base_layer.weight" for name in loop.LORA_TARGETS)
    updated = [p for n, p in lora._model.named_parameters() if n.endswith(ends)]
    assert max(min(p.shape) for p in updated) == WIDEST  # a higher rank is of use to neither encoder
    assert not any("logit_scale" in name for name in Trainer(environments, FULL, 0).start())


@pytest.mark.parametrize(
    "values",
    [{"mode": "half"}, {"epochs": 0}, {"batch": 1}, {"tau": 0.0}, {"weight": -1.0}, {"weight": float("nan")}, {"rank": True},
     {"optimiser": "adam"}, {"reset": "sometimes"}, {"lambda": 1.0}],
)  # fmt: skip
def test_bad_protocols_are_named(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        Protocol.from_dict(values)


def test_what_a_batch_may_be_is_said() -> None:
    for batch in (1, -1, 2.5):
        with pytest.raises(InputError, match="expected: a whole number, at least 2, or 0 for all samples"):
            Protocol(batch=batch)  # type: ignore[arg-type]


def test_bad_runs_are_named(environments: Environments) -> None:
    for order in ((0, 0), (3,), ()):
        with pytest.raises(InputError, match="order"):
            run_order(environments, FROZEN, 0, order)
    with pytest.raises(InputError, match="diverged"):
        run_order(environments, replace(FULL, encoder_rate=1e30), 0, (0,))
    with pytest.raises(InputError, match="another protocol"):
        Trainer(environments, LORA, 0).stage(Trainer(environments, FROZEN, 0).start(), (0,))
    with pytest.raises(InputError, match="seed -1"):
        Trainer(environments, FROZEN, -1)
    for bad in (
        {"world": "middle"},
        {"environments": 1},
        {"environments": 6},
        {"train": 4},
        {"judged": 0},
        {"seed": -1},
        {"seed": True},
    ):
        with pytest.raises(InputError):
            Choice(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("package", "protocol"), [("transformers", FROZEN), ("peft", LORA)])
def test_a_missing_extra_is_named(
    environments: Environments, package: str, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is not installed(.|\n)*crossmodal\[vlm\]"):
        Trainer(environments, protocol, 0)


def test_hashes_and_generators_tell_things_apart() -> None:
    assert config_hash(Protocol(weight=1).to_dict()) == config_hash(Protocol(weight=1.0).to_dict())
    assert config_hash(Protocol().to_dict()) != config_hash(Protocol(tau=11.0).to_dict())
    draws = [
        tuple(generator_of(s, p).integers(1 << 30, size=4)) for s, p in ((0, ()), (0, (0,)), (0, (0, 0)), (1, (0,)))
    ]
    assert len(set(draws)) == 4
    assert Choice().data_hash() != Choice(seed=1).data_hash()


@pytest.mark.parametrize("count", [2, 6, 30, 45])
def test_steps_of_an_epoch_are_counted_as_they_are_made(count: int) -> None:
    for batch in (0, *range(2, 3 * count)):
        made = list(loop._batches(count, batch, np.random.default_rng(0)))
        assert loop.batch_count(count, batch) == len(made)
        assert sorted(row for rows in made for row in rows.tolist()) == list(range(count))
