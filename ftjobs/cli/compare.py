"""`ftjobs compare`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from ftjobs import reports
from ftjobs.cli import fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.show import emit, progress_bar
from ftjobs.evals import Comparison, graders, read_prompts
from ftjobs.evals.run import GREEDY
from ftjobs.jobs.fields import build
from ftjobs.schema import Sampling

GRADERS = {"exact": graders.exact, "chrf": graders.chrf}


@click.command(cls=Command)
@click.argument("prompts", type=click.Path(path_type=Path))
@click.option("--base", required=True, metavar="MODEL", help="The model before tuning.")
@click.option("--tuned", required=True, metavar="MODEL", help="The tuned model or checkpoint.")
@click.option(
    "--grader",
    "names",
    multiple=True,
    type=click.Choice(list(GRADERS)),
    default=list(GRADERS),
    show_default=True,
    help="How answers are scored.",
)
@fields.options(Sampling, leave_out=["n"])
@json_option
@pass_app
def command(
    app: App,
    /,
    prompts: Path,
    base: str,
    tuned: str,
    names: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Ask base and tuned model every prompt of a file, side by side.

    ftjobs compare eval.jsonl --base smollm2-135m --tuned ft:smollm2-135m:…

    A line of PROMPTS is {"messages": [...], "expected": "..."}; a chat dataset will do as it is.
    Answers are greedy (temperature 0) and at most 512 tokens long unless you say otherwise.
    """
    asked = GREEDY.model_dump(exclude_unset=True) | fields.given(options, Sampling)
    sampling = build(Sampling, asked)
    with progress_bar("Asking") as progress:
        result = app.client.compare(
            read_prompts(prompts),
            base=base,
            tuned=tuned,
            graders=[GRADERS[name]() for name in dict.fromkeys(names)],
            sampling=sampling,
            progress=progress,
        )
    if as_json:
        _emit(result)
    else:
        click.echo(reports.text(result, width=shutil.get_terminal_size((100, 24)).columns))


def _emit(result: Comparison) -> None:
    for row in result.rows:
        emit({"object": "comparison.row", **_plain(row)})
    emit(
        {
            "object": "comparison",
            "base": result.base,
            "tuned": result.tuned,
            "sampling": result.sampling.model_dump(exclude_defaults=True),
            "rows": len(result.rows),
            "means": {
                name: dict(zip(("base", "tuned"), means, strict=True))
                for name in result.graders
                if (means := result.means(name))
            },
        }
    )


def _plain(row: Any) -> dict[str, Any]:
    return {
        "line": row.prompt.line,
        "messages": [m.model_dump(exclude_none=True) for m in row.prompt.messages],
        "expected": row.prompt.expected,
        "tags": row.prompt.tags,
        "base": row.base,
        "tuned": row.tuned,
        "scores": {
            name: dict(zip(("base", "tuned"), pair, strict=True))
            for name, pair in row.scores.items()
        },
    }
