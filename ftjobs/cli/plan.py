"""`ftjobs plan`, and what it shares with `submit` and `apply`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from ftjobs.cli import ci, fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.display import attach_command, display_for
from ftjobs.cli.show import clean_line, emit, progress_bar, say
from ftjobs.cli.watch import follow
from ftjobs.integrations import SETTINGS
from ftjobs.jobs import preset as presets
from ftjobs.jobs.jobfile import JobFile, read_job
from ftjobs.jobs.plan import Plan, check_sound
from ftjobs.jobs.planfile import write_plan
from ftjobs.reports import plan as report
from ftjobs.schema import Hyperparameters, JobSpec

F = TypeVar("F", bound=Callable[..., Any])


class Dollars(click.FloatRange):
    """An amount of money; NaN, which passes every comparison with a bound, is none."""

    name = "dollars"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The dollars that a text stands for."""
        amount = float(super().convert(value, param, ctx))
        if not math.isfinite(amount):
            self.fail(f"{value!r} is not an amount of dollars.", param, ctx)
        return amount


def _list_presets(context: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    """A callback: `--preset help` lists what there is, and ends the command."""
    if name == "help" and not context.resilient_parsing:
        for each in presets.names():
            found = presets.read_preset(each)
            click.echo(f"{each}: {found.description}")
            for key, value in found.hyperparameters.given().items():
                click.echo(f"    {key} = {value}")
        context.exit()
    return name


SECTIONS: Mapping[str, Sequence[str]] = {
    "What to train": (
        "model",
        "validation",
        "method",
        "suffix",
        "seed",
        "metadata",
        "preset",
        "integrations",
    ),
    **fields.SECTIONS,
    "Cost": ("max_cost", "allow_unknown_cost", "again"),
    "Output": ("dry_run", "watch", "outputs", "as_json"),
}
"""The headings of help."""

OPTIONS: Sequence[Callable[[F], F]] = (
    click.argument("source", metavar="TRAIN|JOB.TOML", type=click.Path(path_type=Path)),
    click.option("--model", help="The base model."),
    click.option("--validation", type=click.Path(path_type=Path), help="Examples to validate on."),
    click.option(
        "--method",
        type=click.Choice(get_args(JobSpec.model_fields["method"].annotation)),
        help="How to train; supervised by default.",
    ),
    click.option("--suffix", help="1 to 64 characters for the tuned model's name."),
    click.option("--seed", type=int, help="The same seed trains the same model, where it can."),
    click.option(
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        callback=fields.pairs,
        help="Kept with the job.  May be given again.",
    ),
    click.option(
        "--integration",
        "integrations",
        multiple=True,
        metavar="TYPE[:KEY=VALUE,…]",
        callback=fields.integrations,
        help=f"Send the metrics to {', '.join(SETTINGS)} as well.  May be given again.",
    ),
    click.option(
        "--preset",
        metavar="NAME|FILE",
        is_eager=True,
        callback=_list_presets,
        help=f"Hyperparameters by name ({', '.join(presets.names())}) or of a TOML file; those "
        "given here win.  --preset help lists them.",
    ),
    fields.options(Hyperparameters),
    click.option(
        "--max-cost",
        type=Dollars(min=0),
        metavar="USD",
        help="The most that the job may cost, in US dollars.",
    ),
    click.option(
        "--allow-unknown-cost",
        is_flag=True,
        help="With --max-cost: start a job all the same if nobody knows what it costs.",
    ),
    click.option("--again", is_flag=True, help="Start another job, even if one exists."),
)


def job_options(command: F) -> F:
    """Add the argument and the options that say what a job is."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command(cls=Command, sections=SECTIONS)
@job_options
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="PLAN",
    help="Keep the plan in this file, for ftjobs apply; one that ends in .md is a comment for "
    "people.  May be given again.",
)
@json_option
@pass_app
def command(
    app: App, /, source: Path, outputs: Sequence[Path], as_json: bool, **options: Any
) -> None:
    """Say what `submit` would do and cost: check, count, price, and look, but send nothing.

    ftjobs plan job.toml -o plan.json
    ftjobs plan train.jsonl --model smollm2-135m
    ftjobs --backend openai plan train.jsonl --model gpt-4.1-mini-2025-04-14

    TRAIN is a dataset; a JOB.TOML names it and says all else. Options win over the file.

    Exit code 0 if the job could start or exists already, 1 if something stands in its way,
    3 if the dataset has errors, 9 if it could cost more than --max-cost.
    """
    for output in outputs:
        if not output.parent.is_dir():
            raise click.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    plan = make_plan(app, source, options, priced=True)
    spare((source, *(file.path for file in plan.files.values())), outputs)
    kept = [output for output in outputs if not ci.is_comment(output)]
    for output in kept:
        write_plan(plan, output)
    ci.report_plan(plan, [output for output in outputs if ci.is_comment(output)])
    show(plan, as_json=as_json)
    if plan.adopt is None:
        check_sound(plan)
    if kept and not as_json:
        say(f"Carry it out: ftjobs apply {clean_line(str(kept[0]))}")


def spare(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Refuse an output that would take the place of what the command reads."""
    for read, output in product(inputs, outputs):
        if output.exists() and read.exists() and output.samefile(read):
            raise click.BadParameter(f"{output} is what is read here", param_hint="--output")


# --- from words to a plan -----------------------------------------------------------------------


def make_plan(app: App, source: Path, options: dict[str, Any], *, priced: bool) -> Plan:
    """The plan that a command line asks for; `priced` estimates the cost in any case.

    Raises:
        ConfigError: an option, or a key of the job file, cannot be used.
        DatasetError: a file has errors.
        BackendError: the backend cannot be asked.
    """
    hyperparameters = fields.given(options, Hyperparameters)
    if source.suffix.lower() == ".toml":
        job = read_job(source)
        app.take_backend(job.backend)
        train, asked = _from_file(job, options, hyperparameters)
    else:
        train, asked = source, {**options, **hyperparameters}
    if not asked.get("model"):
        raise click.UsageError("Missing option '--model'.")
    asked["method"] = asked.get("method") or "supervised"
    return app.client.plan(train, priced=priced, **asked)


def _from_file(
    job: JobFile, options: dict[str, Any], hyperparameters: dict[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """What a job file says where the command line says nothing."""
    written: dict[str, Any] = {
        "model": job.model,
        "validation": job.data.validation,
        "method": job.method,
        "suffix": job.suffix,
        "seed": job.seed,
        "preset": job.preset,
        "integrations": job.integrations or None,
        "max_cost": job.budget.max_cost,
    }
    given = {name: value for name, value in options.items() if value is not None}
    metadata = {**job.metadata, **(given.pop("metadata", None) or {})}
    settings = {**job.hyperparameters.model_dump(exclude_none=True), **hyperparameters}
    return job.data.train, {**written, **given, "metadata": metadata, **settings}


# --- from a plan to words, and to a job ---------------------------------------------------------


def show(plan: Plan, *, as_json: bool) -> None:
    """Print a plan: for people, or as one line of JSON."""
    if as_json:
        emit({"object": "plan", **plan.model_dump(mode="json")})
    else:
        click.echo(report.text(plan, width=shutil.get_terminal_size((100, 24)).columns))


def start(
    app: App, plan: Plan, *, watch: bool, as_json: bool, outputs: Sequence[Path] = ()
) -> None:
    """Carry a plan out, print the job's id, and follow the job if that is asked for.

    `outputs` are the reports to write of it.
    """
    try:
        with progress_bar("Uploading", in_bytes=True) as progress:
            job = app.client.apply(plan, progress=progress, say=_say)
    except KeyboardInterrupt:
        say("\nInterrupted. Run the same command again: what is at the service is not sent twice.")
        raise
    if as_json:
        emit(job)
    else:
        click.echo(clean_line(job.id))
        say(clean_line(f"Job {job.id} is {job.status}."))
    if watch:
        reporter = ci.Reporter(app, [job], outputs, cost=plan.cost)
        follow(app, job, display_for(app.settings, as_json=as_json), reporter)
        return
    if not as_json and not job.ended:
        say(f"Watch it: {attach_command(app, job.id)}")
    ci.report(app, [job], outputs, cost=plan.cost)


def _say(sentence: str) -> None:
    line = clean_line(sentence)
    say(line[:1].upper() + line[1:] + ("" if line.endswith(".") else "."))
