"""What an experiment whose results are stored consists of, and the hashes by which its file is known to be current."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..vlm_validation.training.data import Choice
from ..vlm_validation.training.protocol import VERSION, Protocol, config_hash

INPUTS = ("config_hash", "data_hash", "model_hash")


@dataclass(frozen=True)
class Experiment:
    """One experiment whose results are stored.

    Attributes:
        name: of its file.
        source: id of the experiment and of the claims it bears on.
        what: one sentence.
        choice: the scenes.
        protocols: title -> how is trained.
        seeds: of the runs.
        settings: whatever else decides the result, ready for JSON.
        fields: value -> what it means: shape, unit, convention.
        compute: from this experiment to the values.
        drawn: from this experiment to a hash of the scenes it draws beside those of `choice`; None: it draws none.
    """

    name: str
    source: str
    what: str
    choice: Choice
    protocols: dict[str, Protocol]
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    fields: dict[str, str]
    compute: Callable[[Experiment], dict[str, Any]]
    drawn: Callable[[Experiment], str] | None = None

    def config(self) -> dict[str, Any]:
        """Everything that decides the result besides scenes and the checkpoint's weights."""
        return {
            "experiment": self.name,
            "training_version": VERSION,
            "model_settings": self.choice.settings_hash(),
            "scenes": asdict(self.choice),
            "protocols": {title: protocol.to_dict() for title, protocol in self.protocols.items()},
            "seeds": list(self.seeds),
            "settings": self.settings,
        }

    def inputs(self) -> dict[str, str]:
        """The three hashes by which a stored file is known to be current.

        Versions of the libraries are not among them but in the file's provenance: every update would have all training
        repeated.  That numbers are still those of the installed versions is what the tests of stored numbers look at.
        """
        data = self.choice.data_hash()
        if self.drawn is not None:  # with those of the choice, whose pixels tell how scenes are rendered
            data = config_hash({"choice": data, "drawn": self.drawn(self)})
        return dict(zip(INPUTS, (config_hash(self.config()), data, self.choice.model_hash()), strict=True))
