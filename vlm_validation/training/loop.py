"""Train the shipped dual encoder and a shared head on one environment after another, and record everything after each.

The state of a run is one flat dictionary of tensors (`head`, `encoder/NAME`, `optimiser/NAME/MOMENT`), so that it can be
stored as safetensors and a run can go on from any prefix.  What is measured is measured on unseen scenes, through the
encoder as it is at that moment, never from a copy of its features kept from before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ...synthetic.encoders import clip_loss
from ...theory.errors import InputError, not_installed
from .. import embedded_models as models
from ..features import Features
from ..scores import estimate_scores
from ..train_embedded import one_thread
from .data import Environments, Samples, features_of, quiet_clip
from .protocol import Protocol, generator_of

State = dict[str, torch.Tensor]
LORA_TARGETS = ("q_proj", "v_proj")


@dataclass(frozen=True, eq=False)
class Measurement:
    """One moment of a run, on the judged scenes; environments in their own order, not that of training.

    Attributes:
        ce, accuracy: (T,) of the shared head on image features; cross entropy in nats, accuracy in [0, 1].
        clip: (T,) symmetric InfoNCE in nats over all judged pairs of an environment, at the protocol's tau.
        clv: (T,) mean cosine of matched pairs.
        con: "II", "IT", "TI", "TT" -> (T, T) V-statistics, as `scores`.
    """

    ce: np.ndarray
    accuracy: np.ndarray
    clip: np.ndarray
    clv: np.ndarray
    con: dict[str, np.ndarray]

    def to_dict(self) -> dict[str, Any]:
        """Lists of float64, ready for JSON."""
        return {name: getattr(self, name).tolist() for name in ("ce", "accuracy", "clip", "clv")} | {
            "con": {key: matrix.tolist() for key, matrix in self.con.items()}
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Measurement:
        """The inverse of `to_dict`.  KeyError where a field is missing."""
        ce, accuracy, clip, clv = (
            np.array(values[name], dtype=np.float64) for name in ("ce", "accuracy", "clip", "clv")
        )
        return Measurement(ce, accuracy, clip, clv, {key: np.array(matrix) for key, matrix in values["con"].items()})


class Trainer:
    """Runs of one protocol and seed.  Holds one model, whose trained weights are loaded from the state given.

    Args:
        environments: what to train and judge on.
        protocol: how.
        seed: of the minibatches and of the low-rank updates' beginning.
    """

    def __init__(self, environments: Environments, protocol: Protocol, seed: int) -> None:
        self.environments, self.protocol, self.seed = environments, protocol, seed
        generator_of(seed, ())  # refuses a seed that no generator takes, before anything is computed
        self._model = quiet_clip(environments.world)[0]
        if protocol.mode == "lora":
            _add_lora(self._model, protocol.rank, seed)
        self._trained = {
            name: parameter
            for name, parameter in self._model.named_parameters()
            if name != "logit_scale" and (protocol.mode == "full" or (protocol.mode == "lora" and "lora_" in name))
        }
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        self._initial = {f"encoder/{name}": parameter.detach().clone() for name, parameter in self._trained.items()}

    def start(self) -> State:
        """The state before training: the checkpoint and a head of zeros."""
        return {"head": torch.zeros(self._model.config.projection_dim, self.environments.classes), **self._initial}

    def stage(self, state: State, prefix: Sequence[int], each: Callable[[State], None] | None = None) -> State:
        """Train on the last environment of `prefix`, from the state after the environments before it.

        Args:
            state: of the prefix without its last environment; not changed.
            prefix: positions of environments, each at most once.
            each: called with the state after every epoch but the last, for what is to be recorded in between.

        Returns:
            The state after the stage.

        Raises:
            InputError: a prefix that names an environment twice or one that there is not; a state of another protocol.
        """
        _check_prefix(prefix, len(self.environments))
        head = self._load(state)
        samples, generator = self.environments.train[prefix[-1]], generator_of(self.seed, prefix)
        names = ["head", *(f"encoder/{name}" for name in self._trained)]
        optimiser = self._optimiser(head)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        if self.protocol.reset == "never":
            _restore(optimiser, parameters, names, state)
        with one_thread():
            fixed = None if self._trained else self._encode(samples, slice(None), text=True)
            for epoch in range(self.protocol.epochs):
                for rows in _batches(len(samples), self.protocol.batch, generator):
                    u, v = (x[rows] for x in fixed) if fixed else self._encode(samples, rows, self.protocol.weight > 0)
                    loss = F.cross_entropy(u @ head, samples.label[rows])
                    if self.protocol.weight > 0:
                        loss = loss + self.protocol.weight * clip_loss(u, v, self.protocol.tau)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                if each is not None and epoch + 1 < self.protocol.epochs:
                    each(self._state(head, optimiser, parameters, names))
        return self._state(head, optimiser, parameters, names)

    @torch.no_grad()
    def measure(self, state: State, *, trained: bool = False) -> Measurement:
        """Everything that is recorded, in this state.

        Args:
            state: of this protocol.
            trained: measure on the training scenes instead of the unseen ones.

        Raises:
            InputError: a state of another protocol; a run that diverged.
        """
        with one_thread():
            head = self._load(state)
            judged = self.environments.train if trained else self.environments.judged
            sides = [self._encode(samples, slice(None), text=True) for samples in judged]
            label = [samples.label for samples in judged]
            logits = [(u @ head).double() for u, _ in sides]
            ce = [float(F.cross_entropy(z, y)) for z, y in zip(logits, label, strict=True)]
            hit = [float((z.argmax(dim=1) == y).double().mean()) for z, y in zip(logits, label, strict=True)]
            clip = [float(clip_loss(u.double(), v.double(), self.protocol.tau)) for u, v in sides]
        if not np.isfinite([*ce, *clip]).all():
            raise InputError(
                f"training diverged (seed {self.seed}): losses {ce} and {clip}", expected="finite losses",
                causes=("learning rates too large for this optimiser",), fix="smaller head_rate or encoder_rate",
            )  # fmt: skip
        scores = estimate_scores(features_of(self.environments, sides, label))
        return Measurement(np.array(ce), np.array(hit), np.array(clip), scores.clv, scores.con)

    @torch.no_grad()
    def features(self, state: State, *, trained: bool = False) -> Features:
        """Features of the judged scenes (or of those trained on) through the encoder in this state."""
        chosen = self.environments.train if trained else self.environments.judged
        with one_thread():
            self._load(state)
            sides = [self._encode(samples, slice(None), text=True) for samples in chosen]
        return features_of(self.environments, sides, [samples.label for samples in chosen])

    def _encode(self, samples: Samples, rows: Any, text: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit features (n, d) of images and, where asked for, of captions."""
        u = models.unit(self._model.get_image_features(pixel_values=samples.pixels[rows]))
        if not text:
            return u, u.new_zeros(0)
        return u, models.unit(self._model.get_text_features(**{k: x[rows] for k, x in samples.tokens.items()}))

    def _load(self, state: State) -> torch.Tensor:
        expected = {"head", *self._initial}
        found = {name for name in state if not name.startswith("optimiser/")}
        if found != expected:
            raise InputError(
                f"a state with {len(found)} tensors, {sorted(found ^ expected)[0]} among those that differ",
                expected=f"the {len(expected)} tensors that mode {self.protocol.mode!r} trains",
                causes=("the state of another protocol",),
            )
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(state[f"encoder/{name}"])
        return state["head"].clone().requires_grad_(True)

    def _optimiser(self, head: torch.Tensor) -> torch.optim.Optimizer:
        p = self.protocol
        groups: list[dict[str, Any]] = [{"params": [head], "lr": p.head_rate}]
        if self._trained:
            groups.append({"params": list(self._trained.values()), "lr": p.encoder_rate})
        return torch.optim.SGD(groups) if p.optimiser == "sgd" else torch.optim.AdamW(groups, weight_decay=0.0)

    def _state(
        self, head: torch.Tensor, optimiser: torch.optim.Optimizer, parameters: list[Any], names: list[str]
    ) -> State:
        state = {"head": head.detach().clone()}
        state |= {f"encoder/{name}": parameter.detach().clone() for name, parameter in self._trained.items()}
        if self.protocol.reset == "never":
            for name, parameter in zip(names, parameters, strict=True):
                for moment, value in optimiser.state[parameter].items():
                    if isinstance(value, torch.Tensor):
                        state[f"optimiser/{name}/{moment}"] = value.detach().clone()
        return state


@dataclass(frozen=True, eq=False)
class OrderRun:
    """One order, trained.

    Attributes:
        order: (T,) positions into the environments' names.
        records: T+1 measurements: before training and after each environment.
        epochs: T lists: the measurements after every epoch of a stage but its last, where asked for.
        fitted: T+1 measurements at the same moments, on the training scenes.
    """

    order: tuple[int, ...]
    records: tuple[Measurement, ...]
    epochs: tuple[tuple[Measurement, ...], ...]
    fitted: tuple[Measurement, ...]

    def matrix(self, kind: str, weight: float = 0.0, *, trained: bool = False) -> np.ndarray:
        """R of `metrics`, (T+1, T), columns in the order of training.

        Args:
            kind: "loss" (cross entropy plus `weight` times the contrastive loss, nats) or "accuracy".
            weight: lambda; 0 for the cross entropy alone.
            trained: on the training scenes instead of the unseen ones.
        """
        rows = [
            r.accuracy if kind == "accuracy" else r.ce + weight * r.clip
            for r in (self.fitted if trained else self.records)
        ]
        return np.stack(rows)[:, list(self.order)]


def run_order(
    environments: Environments, protocol: Protocol, seed: int, order: Sequence[int], *, every_epoch: bool = False
) -> OrderRun:
    """Train one order from the start.

    Raises:
        InputError: an order that is no order of some environments; a run that diverged.
    """
    trainer, order = Trainer(environments, protocol, seed), tuple(int(k) for k in order)
    _check_prefix(order, len(environments))
    state = trainer.start()
    records, fitted, epochs = [trainer.measure(state)], [trainer.measure(state, trained=True)], []
    for k in range(len(order)):
        between: list[State] = []
        state = trainer.stage(state, order[: k + 1], between.append if every_epoch else None)
        epochs.append(tuple(trainer.measure(moment) for moment in between))
        records.append(trainer.measure(state))
        fitted.append(trainer.measure(state, trained=True))
    return OrderRun(order, tuple(records), tuple(epochs), tuple(fitted))


def _add_lora(model: Any, rank: int, seed: int) -> None:
    """Low-rank updates that change nothing yet (B = 0); A is drawn from the seed."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise not_installed("peft", "vlm") from None
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LORA_TARGETS), lora_dropout=0.0, bias="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    model.eval()


def batch_count(count: int, batch: int) -> int:
    """Steps of one epoch over `count` samples; batch 0, or one of at least as many samples, is the full batch."""
    return 1 if batch == 0 or batch >= count else round(count / batch)


def _batches(count: int, batch: int, generator: np.random.Generator) -> Iterator[torch.Tensor]:
    """One epoch: rows in random order, in equal parts as near to `batch` as there are; full batch: in their own order."""
    if batch == 0 or batch >= count:
        yield torch.arange(count)
        return
    rows = torch.from_numpy(generator.permutation(count))
    yield from torch.tensor_split(rows, batch_count(count, batch))


def _restore(optimiser: torch.optim.Optimizer, parameters: list[Any], names: list[str], state: State) -> None:
    for name, parameter in zip(names, parameters, strict=True):
        start = f"optimiser/{name}/"
        if moments := {key[len(start) :]: x.clone() for key, x in state.items() if key.startswith(start)}:
            optimiser.state[parameter] = moments


def _check_prefix(prefix: Sequence[int], count: int) -> None:
    if not prefix or len(set(prefix)) != len(prefix) or not set(prefix) <= set(range(count)):
        raise InputError(
            f"order {list(prefix)}",
            expected=f"positions from 0 to {count - 1}, each at most once, at least one of them",
        )
