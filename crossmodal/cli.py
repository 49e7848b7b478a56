"""The command line.  Commands import what they need when they run, so `crossmodal --help` is instant."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from crossmodal import __version__
from crossmodal.theory.errors import InputError  # light: the standard library alone

PATH = click.Path(path_type=Path, readable=False)  # what cannot be read is explained by whoever reads it


class Group(click.Group):
    """Turns a user's mistake into one message and exit status 2, an interrupt into status 130."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is escaped
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # a full disk is told here, and not by the interpreter as it ends
        except InputError as error:
            _refuse(ctx, error)
        except KeyboardInterrupt:
            click.echo("crossmodal: interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            _drop_what_cannot_be_written()
            ctx.exit(1)
        except OSError as error:
            _drop_what_cannot_be_written()
            _refuse(ctx, _of_the_system(error))
        except MemoryError as error:
            _refuse(ctx, InputError(
                f"out of memory ({error})" if str(error) else "out of memory", expected="more of it",
                causes=("a limit of this shell (`ulimit -v`) or of the batch system", "other programs on this machine"),
                fix="raise the limit, or take fewer workers or smaller files",
            ))  # fmt: skip
        except Exception as error:
            own_claims = sys.modules.get("crossmodal.theory.own_claims")  # not there: no file of the user's was run
            if own_claims is None or (explained := own_claims.blamed(error)) is None:
                raise
            _refuse(ctx, explained)


def _drop_what_cannot_be_written() -> None:
    """Else the interpreter tries again as it ends, complains, and exits with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(ctx: click.Context, error: Exception) -> None:
    from crossmodal import terminal

    terminal.say(f"crossmodal: {error}", file=sys.stderr)
    ctx.exit(2)


def _of_the_system(error: OSError) -> Exception:
    """What a file system refuses, as one of our own messages; anything else stays what it is."""
    where = error.filename or "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"{where}: {error.strerror}", expected="room on the disk", fix="free some, then the same command"
        )
    if error.errno == errno.EFBIG:
        return InputError(
            f"{where}: {error.strerror}", expected="a file as large as the system allows",
            causes=("a limit of this shell (`ulimit -f`) or of the batch system", "a file system that holds no larger files"),
            fix="raise the limit, or name another place",
        )  # fmt: skip
    if error.filename is None:
        raise error
    return InputError(
        f"{where}: {error.strerror}", expected="a file or folder that can be read, or written where it is an output",
        causes=("another user's file or folder", "a read-only file system", "a typing error in the path"),
        fix="check its permissions, or name another place",
    )  # fmt: skip


def _file(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """An output file, refused before any work where it cannot be written, is a folder, or would replace a features file."""
    if value is not None and str(value) != "-":
        if value.is_dir():
            raise InputError(
                f"{parameter.opts[0]} {value}: is a folder", expected="the name of a file", fix=f"{value / 'result'}"
            )
        if value.suffix in (".npz", ".safetensors"):
            raise InputError(
                f"{parameter.opts[0]} {value}: has the suffix of a features file", expected="another name for a result",
                causes=("the features were named twice, and would be overwritten",), fix=f"{value.with_suffix('.json').name}, say",
            )  # fmt: skip
        if not value.exists():
            _permitted(
                next(parent for parent in value.absolute().parents if parent.exists()), f"{parameter.opts[0]} {value}"
            )
    return value


def _permitted(folder: Path, what: str) -> None:
    """Refuse a folder in which no file may be made."""
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"{what}: no permission to write in {folder}", expected="a folder that can be written",
            causes=("a read-only folder, or another user's",), fix="change its permissions, or name another place",
        )  # fmt: skip


def _folder(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """An output folder, refused before any work where it is a file."""
    if value is not None and value.exists() and not value.is_dir():
        raise InputError(f"{parameter.opts[0]} {value}: is a file", expected="a folder, which is made where it is missing",
                         fix="name another place")  # fmt: skip
    return value


def _address(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[a-z+]+://[^\s/]+:[0-9]+", value):
        raise InputError(f"{parameter.opts[0]} {value}: is no address", expected="tcp://HOST:PORT of a running Dask scheduler",
                         causes=("the scheme or the port is missing",), fix="`dask scheduler` prints its address")  # fmt: skip
    return value


def json_option(text: str) -> Callable[[Any], Any]:
    """``--json FILE``."""
    return click.option("--json", "json_path", type=PATH, callback=_file, help=text)


def data_options(*, captions: str, batch: int, pairs: str) -> Callable[[Any], Any]:
    """What is taken of a data set, and how it goes through a model.

    Args:
        captions, pairs: help of ``--captions`` and of ``--batch``.
        batch: default of ``--batch``.
    """
    options = (
        click.option("--split", help="Of COCO (val2017, ...) or CUB (train, test)."),
        click.option("--captions", type=PATH, help=captions),
        click.option("--limit", type=int, help="Only the first N pairs of every environment."),
        click.option("--batch", default=batch, show_default=True, help=pairs),
        click.option("--device", help="A torch device; default: the GPU where there is one."),
    )
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crossmodal")
def main() -> None:
    """The theory of cross-modal contributions in continual vision-language models, made checkable."""


features_option = click.option(
    "--features",
    "-f",
    type=PATH,
    help="A features file (.npz or .safetensors); default: a generated set.",
)
normalise_option = click.option("--normalise", is_flag=True, help="Rescale features to unit length, and say so.")
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),  # torch's generator holds no larger one
    default=0,
    show_default=True,
    help="The same seed gives the same bytes.",
)
positive = click.IntRange(min=1)


@main.command()
@click.argument("claims", nargs=-1)
@features_option
@normalise_option
@seed_option
@click.option("--models", type=positive, default=32, show_default=True, help="Exact rational models per claim.")
@click.option(
    "--mutants-each", type=positive, default=24, show_default=True, help="Mutants of every certificate to be rejected."
)
@click.option("--mutants", "report", is_flag=True, help="Mutate the statements too, and list who kills the mutants.")
@click.option("--jobs", type=positive, help="Processes; default: one a core.")
@json_option("Write every field to a JSON file ('-': print it).")
@click.option("--certificates", type=PATH, help="Run the checker alone over a folder of certificates.")
@click.option("--rewrite", is_flag=True, help="Derive the certificates again and store them.")
def verify(claims: tuple[str, ...], features: Path | None, normalise: bool, seed: int, models: int, mutants_each: int, report: bool,
           jobs: int | None, json_path: Path | None, certificates: Path | None, rewrite: bool) -> None:  # fmt: skip
    """Derive, certify, attack and measure claims: ids, or files of your own (default: all of the theory's).

    Exit status 0 only when every verdict is as registered.
    """
    from crossmodal import verify as job

    alone = {"--certificates": certificates is not None, "--rewrite": rewrite}
    others = {
        "CLAIMS": claims and not rewrite,
        "--features": features,
        "--json": json_path,
        "--mutants": report,
        "--normalise": normalise,
    }
    if any(alone.values()) and (extra := [n for n, given in {**others, **alone}.items() if given][:2])[1:]:
        raise InputError(f"{' and '.join(extra)} together", expected="one of them", causes=("the one would ignore the other",),
                         fix="two commands")  # fmt: skip
    if certificates is not None:
        sys.exit(job.check_alone(certificates))
    if rewrite:
        sys.exit(job.rewrite(claims))
    from crossmodal.dashboard import Settings

    path = str(features) if features else None
    settings = Settings(models, mutants_each, seed, path, normalise, statements=report)
    sys.exit(job.verify(claims, settings, jobs, json_path))


@main.command()
@click.argument("claim", required=False)
@click.option("--format", "form", type=click.Choice(["text", "markdown", "latex"]), default="text", show_default=True)
@click.option("--example", is_flag=True, help="Print a claim of one's own, to begin with.")
def show(claim: str | None, form: str, example: bool) -> None:
    """Statement, assumptions, proof steps, trust base and counterexamples of a claim (default: list the claims).

    CLAIM is an id (T3.5) or a file of your own (my_claim.py), here and in verify and check.
    """
    if example:
        from crossmodal.theory.own_claims import EXAMPLE

        click.echo(EXAMPLE.read_text(encoding="utf-8"), nl=False)
        return
    from crossmodal import show as job

    click.echo(job.show(claim, form) if claim is not None else job.index())


@main.command()
@click.argument("claim")
@click.option(
    "--examples",
    default=100_000,
    show_default=True,
    help="float64 models; what comes near a violation gets a proven error bound.",
)
@seed_option
@click.option("--tighten", type=float, default=0.0, help="Attack the bound made tighter by this fraction, e.g. 0.01.")
@click.option("--adversarial", is_flag=True, help="Search by gradient too; report how tight every bound is.")
@click.option("--drop", metavar="ASSUMPTION", help="Attack the claim without this assumption, by search too.")
@json_option("Write the result to a JSON file ('-': print it).")
def check(
    claim: str, examples: int, seed: int, tighten: float, adversarial: bool, drop: str | None, json_path: Path | None
) -> None:
    """Look for a counterexample among random models and, where asked, by search; violations are confirmed in exact rationals.

    Exit status 1 when one is found.
    """
    from crossmodal import check as job

    sys.exit(job.check(claim, examples, seed, tighten, json_path, adversarial, drop))


@main.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@normalise_option
@click.option(
    "--delta", default=0.05, show_default=True, help="One minus the level of the intervals of S7, in the JSON."
)
@json_option("Where to write the scores ('-': print them); default: FILE.scores.json in this folder.")
@click.option(
    "--figure",
    type=PATH,
    callback=_file,
    help="Where to draw the heatmaps; default: FILE.scores.png in this folder.",
)
@click.option("--workers", type=positive, default=1, show_default=True, help="Local processes that read shards.")
@click.option(
    "--cluster",
    "--dask",
    "cluster",
    metavar="ADDRESS",
    callback=_address,
    help="A Dask scheduler, tcp://HOST:PORT, instead of processes.",
)
def scores(
    files: tuple[Path, ...], normalise: bool, delta: float, json_path: Path | None, figure: Path | None, workers: int,
    cluster: str | None,
) -> None:  # fmt: skip
    """The four contribution-score matrices of a features file, with confidence intervals, CLV and dispersion.

    Several FILES, or a folder, are shards of one data set: each is reduced to moments where it lies, and these are merged.
    A torn or foreign file is set aside, and exit status 1 then says that the scores are those of the rest.
    """
    from crossmodal import scores as job

    for option, given in (("--json", json_path), ("--figure", figure)):
        if given is None:
            _permitted(Path.cwd(), f"{option} is not given")
    sys.exit(job.scores(files, normalise, delta, json_path, figure, workers, cluster))


@main.command()
@click.argument("file", type=PATH)
@normalise_option
@seed_option
@json_option("Write every order's prediction ('-': print it).")
def order(file: Path, normalise: bool, seed: int, json_path: Path | None) -> None:
    """Recommend an order of the environments, with predicted forgetting and its uncertainty (T3.10)."""
    from crossmodal import order as job

    job.order(file, normalise, seed, json_path)


@main.command()
@click.argument("model")
@click.argument("data")
@click.option(
    "--output",
    "-o",
    type=PATH,
    required=True,
    help="The features file to write (.npz or .safetensors).",
)
@data_options(
    captions="JSONL captions (image_id, caption) for CUB; default: a template.",
    batch=64,
    pairs="Pairs encoded at a time.",
)
@click.option("--overwrite", is_flag=True, help="Replace a features file of another model or data set.")
def extract(model: str, data: str, output: Path, split: str | None, captions: Path | None, limit: int | None, batch: int,
            device: str | None, overwrite: bool) -> None:  # fmt: skip
    """Encode a data set with a model and write its features file; a killed run goes on where it stopped.

    MODEL is embedded:high, embedded:low, a folder or a Hugging Face name of CLIP, SigLIP or ViLT (safetensors only).  DATA is
    embedded:high, embedded:low, or a folder: COCO or CUB-200-2011 as distributed, or one with captions.csv or captions.jsonl
    (file, caption, label, environment).
    """
    from crossmodal import extract as job

    job.extract(model, data, output, split, captions, limit, batch, device, overwrite)


@main.command()
@click.argument("model")
@click.argument("data")
@click.option("--baseline", type=click.Choice(["tokens", "zero", "mean", "permute"]), default="tokens", show_default=True,
              help="What stands for an absent modality.")  # fmt: skip
@data_options(
    captions="JSONL captions (image_id, caption) for CUB.", batch=32, pairs="Pairs taken at a time, at least."
)
@seed_option
@json_option("Write every number to a JSON file ('-': print it).")
def coalitions(model: str, data: str, baseline: str, split: str | None, captions: Path | None, limit: int | None, batch: int,
               device: str | None, seed: int, json_path: Path | None) -> None:  # fmt: skip
    """What image and text contribute to a model's score of a pair, and their interaction, per environment (C1, C4).

    MODEL and DATA are those of `crossmodal extract`; also embedded:fused_high and embedded:fused_low.  The score is the cosine for
    CLIP and SigLIP, and what the head says for ViLT.
    """
    from crossmodal import coalitions as job

    job.coalitions(model, data, baseline, split, captions, limit, batch, device, seed, json_path)


@main.command()
@click.option("--figure", "names", multiple=True, help="Only this figure or table (repeatable); default: all.")
@features_option
@click.option("--output", type=PATH, callback=_folder, default=Path("paper/build"), show_default=True)
@seed_option
@click.option("--trace", "number", metavar="NUMBER", help="Name the origin of a number in the built paper instead.")
@click.option(
    "--full",
    is_flag=True,
    help="Compute again what is stored because it trains for minutes; the default says what is stale.",
)
def paper(
    names: tuple[str, ...], features: Path | None, output: Path, seed: int, number: str | None, full: bool
) -> None:
    """Draw the paper's figures, tables and pages from computed results."""
    if number is not None:
        if names or features or full:
            raise InputError("--trace together with what to build", expected="--trace NUMBER, with --output where it was built",
                             causes=("--trace reads a paper that is built",), fix="build it first, then trace")  # fmt: skip
        from crossmodal.paper.trace import line, trace

        for entry in trace(number, output):
            click.echo(line(entry))
        return
    from crossmodal.paper import build

    if full:
        from crossmodal.paper.stored import experiments, store

        for name in experiments():
            click.echo(store(name))
    for path in build.build(names, features, output, seed):
        click.echo(path)


@main.command()
@click.argument("config", type=PATH, required=False)
@click.option(
    "--output",
    type=PATH,
    callback=_folder,
    help="Folder of cells and tables; default: CONFIG.sweep.",
)
@click.option("--workers", type=positive, default=1, show_default=True, help="Local processes.")
@click.option(
    "--dask",
    metavar="ADDRESS",
    callback=_address,
    help="A Dask scheduler, tcp://HOST:PORT, instead of local processes.",
)
@click.option("--example", is_flag=True, help="Print a configuration to begin with.")
def sweep(config: Path | None, output: Path | None, workers: int, dask: str | None, example: bool) -> None:
    """Train along orders, protocols and seeds as a TOML file says; finished cells are skipped, so this also resumes."""
    from crossmodal import sweep as job

    if example:
        click.echo(job.EXAMPLE, nl=False)
        return
    if config is None:
        raise click.UsageError("Missing argument 'CONFIG'.  `crossmodal sweep --example > sweep.toml` writes one.")
    job.sweep(config, output, workers, dask)


@main.command()
@click.option("--only", multiple=True, help="Only this item (repeatable), such as k1; default: all.")
@click.option("--output", type=PATH, callback=_folder, default=Path("build/bench"), show_default=True)
@click.option("--threads", type=positive, help="Threads; default: what each item's target names.")
@click.option("--quick", is_flag=True, help="Small shapes and few rounds: does it run, not how fast.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def bench(only: tuple[str, ...], output: Path, threads: int | None, quick: bool, device: str) -> None:
    """Speed and memory of the kernels beside their peers; refuses to print speed where correctness fails."""
    from crossmodal import bench as job

    sys.exit(job.bench(only, output, threads, quick, device))


@main.command()
@click.argument("files", nargs=-1, type=PATH)
@click.option(
    "--heads",
    "-H",
    multiple=True,
    type=PATH,
    help="A linear head a stage (`weight` (C, D), optional `bias`); repeat.",
)
@click.option(
    "--order", multiple=True, help="Environments in the order learnt, by name or id; repeat.  Default: ascending ids."
)
@click.option(
    "--fusion", type=click.Choice(["image", "sum", "concat"]), help="What the heads read; default: by their width."
)
@click.option("-p", default=1.0, show_default=True, help="Weight of the image in z = p u + q v or [p u; q v].")
@click.option("-q", default=1.0, show_default=True, help="Weight of the text.")
@click.option(
    "--tau",
    type=float,
    help="Inverse temperature of the CLIP loss.  Default: 100; --demo trains with its own, or with this.",
)
@click.option(
    "--lambda",
    "weight",
    type=float,
    help="Weight of the CLIP loss.  Default: 1; --demo trains with its own, or with this.",
)
@normalise_option
@seed_option
@json_option("Write every field to a JSON file ('-': print it).")
@click.option("--demo", is_flag=True, help="Train the shipped encoder on three environments and audit that run.")
@click.option(
    "--data", help="FILES are checkpoints (folders or names): extract this data set through each; see `extract`."
)
@click.option("--folder", type=PATH, callback=_folder, help="Keep what was extracted or trained there.")
def audit(files: tuple[Path, ...], heads: tuple[Path, ...], order: tuple[str, ...], fusion: str | None, p: float, q: float, tau: float | None,
          weight: float | None, normalise: bool, seed: int, json_path: Path | None, demo: bool, data: str | None, folder: Path | None) -> None:  # fmt: skip
    """What happened in a run: features of the same samples before training and after each environment.

    Score drift by modality (S6), every loss change split by theorem term (T1), curvature (T3.1, T3.2), contributions that
    moved while accuracy did not (C1), and which assumptions failed.
    """
    from crossmodal import audit as job

    job.audit(files, heads, order, fusion, p, q, tau, weight, normalise, seed, json_path, demo, folder, data)


if __name__ == "__main__":
    main()
