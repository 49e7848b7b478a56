"""Results of experiments that train for minutes: computed by one command, stored with their origin, refused when stale.

    python -m crossmodal.paper.stored              what there is, and whether it is current
    python -m crossmodal.paper.stored e2_lambda    compute it again

`paper/stored/NAME.json` holds `values`, `fields` (what each value means) and `provenance`: the command, the configuration
and its hash, the hashes of scenes and checkpoint, seeds and versions of what computed them.  The same inputs and
versions give the same bytes on one kind of machine.  All orders (E3) take a quarter of an hour on two cores: what was
trained is kept in `build/cells`, where the same command goes on after a crash.  `load_stored` recomputes the three hashes
of the inputs and refuses a file that declares others.
"""

from __future__ import annotations

import json
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..theory.errors import InputError, unknown_name
from ..theory.files import write_whole
from .experiment import INPUTS, Experiment
from .results import plain

FOLDER = Path(__file__).parent / "stored"
MOST_BYTES = 200_000


@cache
def experiments() -> dict[str, Experiment]:
    """Every experiment by name."""
    from .experiments import EXPERIMENTS

    return {experiment.name: experiment for experiment in EXPERIMENTS}


def _experiment(name: str) -> Experiment:
    if name not in experiments():
        raise unknown_name(
            f"no stored experiment {name!r}",
            name,
            list(experiments()),
            fix="without a name, `python -m crossmodal.paper.stored` lists them",
        )
    return experiments()[name]


def load_stored(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """A stored result: `values`, `fields`, `provenance` and what names it.

    Raises:
        InputError: no such experiment; its file is missing, torn, another's, or stale.
    """
    experiment = _experiment(name)
    path, again = folder / f"{name}.json", f"python -m crossmodal.paper.stored {name}"
    if not path.is_file():
        raise InputError(f"{path}: no such file", expected=f"the stored result of {name}", fix=again)
    try:
        record = json.loads(path.read_bytes())
        declared = {key: record["provenance"][key] for key in INPUTS}
        found = record["experiment"]
        missing = set(experiment.fields) ^ set(record["values"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as a stored result ({error})", expected="a whole file of this command",
            causes=("a torn copy", "edited by hand"), fix=again,
        ) from None  # fmt: skip
    if found != name or missing:
        raise InputError(f"{path}: holds {found!r}, fields in doubt: {sorted(missing)}", expected=name, fix=again)
    changed = [key for key, value in experiment.inputs().items() if declared[key] != value]
    if changed:
        raise InputError(
            f"{path}: {name} is stale: {', '.join(changed)} no longer as declared",
            expected="results of the present scenes, checkpoint and configuration",
            causes=("one of them was changed after the result was stored",), fix=again,
        )  # fmt: skip
    return dict(record)


def store(name: str, folder: Path = FOLDER) -> Path:
    """Compute an experiment and write its file, whole or not at all.

    Raises:
        InputError: no such experiment.
        ValueError: values without a description, or a file of more than 200 kB.
    """
    experiment = _experiment(name)
    values = plain(experiment.compute(experiment))
    if set(values) != set(experiment.fields):
        raise ValueError(f"{name}: values and their descriptions differ: {set(values) ^ set(experiment.fields)}")
    versions = {package: metadata.version(package) for package in ("numpy", "torch", "transformers", "peft")}
    record: dict[str, Any] = {
        "experiment": name,
        "source": experiment.source,
        "what": experiment.what,
        "fields": experiment.fields,
        "provenance": {
            "command": f"python -m crossmodal.paper.stored {name}",
            **experiment.inputs(),
            "config": experiment.config(),
            "seeds": list(experiment.seeds),
            "versions": {"crossmodal": __version__, "python": platform.python_version(), **versions},
        },
        "values": values,
    }
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"
    if len(text) > MOST_BYTES:
        raise ValueError(f"{name}: {len(text)} bytes, more than {MOST_BYTES}")
    return write_whole(folder / f"{name}.json", text)


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Compute the named experiments again; without names: list them."""
    try:
        for name in names:
            _experiment(name)
        for name in names:
            click.echo(store(name))
        for name in () if names else experiments():
            try:
                load_stored(name)
                state = "current"
            except InputError as error:
                state = str(error).splitlines()[0]
            click.echo(f"{name}: {experiments()[name].what} [{state}]")
    except InputError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
