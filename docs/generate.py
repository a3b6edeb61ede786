"""Write docs/reference from the program itself: `python docs/generate.py`, or `make docs`.

Nothing in that folder is written by hand; a test compares it with what this script makes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import click
from pydantic import BaseModel

from ftjobs import config, errors
from ftjobs.backends import failures, profiles
from ftjobs.cli import root
from ftjobs.cli.app import SHARED, Command
from ftjobs.cli.watch import SECRETS
from ftjobs.data.rules import RULES, Fixable, Rule
from ftjobs.errors import ExitCode
from ftjobs.reports import dataset, failure
from ftjobs.schema import FOR_PROGRAMS, Capabilities, Hyperparameters, Sampling
from ftjobs.server.options import MiB, Options

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py. Do not edit. -->"

WHERE: Mapping[str, str] = {
    "request": "Refused requests",
    "job": "Jobs that failed",
    "local": "Local jobs that failed",
}

HUNDREDS: Mapping[str, str] = {
    "FT1": "the bytes",
    "FT2": "JSON",
    "FT3": "the shape of a row",
    "FT4": "who says what",
    "FT5": "the file as a whole",
    "FT6": "what texts and images hold",
    "FT7": "secrets and personal data",
    "FT8": "rows against rows, file against file",
    "FT9": "length and truncation",
}

REPAIRED: Mapping[Fixable | None, str] = {
    "safe": "`ftjobs data check FILE --fix OUT` may repair it; no meaning is lost.",
    "unsafe": "`ftjobs data check FILE --fix OUT --unsafe-fixes` may repair it; see what it did.",
    None: "Only you can repair it.",
}


def pages() -> dict[str, str]:
    """The text of every generated page, by its path in docs/reference."""
    made = {
        "cli": cli(),
        "codes": codes(),
        "errors": error_tree(),
        "failures": failure_codes(),
        "settings": settings(),
    }
    made |= {f"codes/{rule.code}": code(rule) for rule in RULES.values()}
    return {f"{name}.md": "\n\n".join([NOTE, *parts]) + "\n" for name, parts in made.items()}


# --- the command line ----------------------------------------------------------------------------


def cli() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Command line"
    yield (
        "Data goes to standard output, messages to standard error. Every command but the groups "
        "takes these options, before or after its name:"
    )
    yield option_table([*SHARED, click.Option(["--help"], is_flag=True, help="Show the help.")])
    yield "[Exit codes](errors.md#exit-codes) are frozen."
    for command, context in commands(root, click.Context(root, info_name="ftjobs")):
        yield f"## {context.command_path}"
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```"
        yield from help_parts(command)
        yield from own_options(command, context)


def commands(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command below `group` that does something, in the order of help."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(f"{context.command_path} lists {name} and has none")
        inner = click.Context(command, info_name=name, parent=context)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield command, inner
        if isinstance(command, click.Group):
            yield from commands(command, inner)


def help_parts(command: click.Command) -> Iterator[str]:
    """A command's help, its examples as code."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        text = paragraph.replace("\b\n", "").strip()
        yield f"```sh\n{text}\n```" if re.match(r"ftjobs |cat ", text) else text


def own_options(command: click.Command, context: click.Context) -> Iterator[str]:
    """The options that are a command's own, under the headings of its help."""
    shared = {name for parameter in SHARED for name in parameter.opts} | {"--help"}
    grouped = (
        command.options_by_section(context)
        if isinstance(command, Command)
        else {"Options": [p for p in command.get_params(context) if isinstance(p, click.Option)]}
    )
    for title, options in grouped.items():
        own = [option for option in options if shared.isdisjoint(option.opts)]
        if own and len(grouped) > 1:
            yield f"**{title}**"
        if own:
            yield option_table(own)


def option_table(options: Sequence[click.Parameter]) -> str:
    """Options as a table: how each is written, and what it does."""
    rows = [record for option in options if (record := written(option)) is not None]
    return table(("Option", "Meaning"), [(f"`{name}`", text) for name, text in rows])


def written(option: click.Parameter) -> tuple[str, str] | None:
    """How click writes an option in its help."""
    return option.get_help_record(click.Context(click.Command(None)))


# --- codes, errors, settings ---------------------------------------------------------------------


def codes() -> Iterator[str]:
    """Every rule of the dataset checker, by hundreds."""
    yield "# Dataset codes"
    yield (
        "What `ftjobs data check` finds. A code never changes its meaning. Errors stop a job, "
        "warnings do not. `ftjobs explain FT303` prints its page in the terminal, `ftjobs explain` "
        "this list."
    )
    yield (
        "Where a code is repaired *safely*, `--fix OUT` is enough and no meaning is lost; where "
        "*unsafely*, it takes `--unsafe-fixes` too, and you should look at what it did."
    )
    for hundred, rules in groupby(RULES.values(), lambda rule: rule.code[:3]):
        yield f"## {hundred}xx {HUNDREDS[hundred]}"
        yield table(("Code", "Severity", "Repaired", "Title"), [*map(code_row, rules)])


def code_row(rule: Rule) -> tuple[str, ...]:
    """A rule as a row of the list."""
    repaired = {"safe": "safely", "unsafe": "unsafely", None: "–"}[rule.fixable]
    return f"[{rule.code}](codes/{rule.code}.md)", dataset.weighs(rule), repaired, rule.title


def code(rule: Rule) -> Iterator[str]:
    """The page of one rule."""
    yield f"# {rule.code}: {rule.title}"
    yield f"**{dataset.weighs(rule).capitalize()}.** {rule.why}"
    yield "## What to do"
    yield f"```text\n{rule.fix}\n```"
    yield REPAIRED[rule.fixable]
    if rule.example:
        yield "## Example"
        yield f"```text\n{dataset.visible(rule.example).rstrip()}\n```"
    yield "[All codes](../codes.md)"


def error_tree() -> Iterator[str]:
    """The tree of errors, and the exit codes."""
    yield "# Errors and exit codes"
    doc = inspect.getdoc(errors) or ""
    first, _, rest = doc.partition("::\n\n")
    tree, _, after = rest.partition("\n\n")
    yield first.strip()
    yield f"```text\n{inspect.cleandoc(tree)}\n```"
    yield " ".join(after.replace("\n", " ").split())
    yield "## Exit codes"
    yield "Frozen: scripts may depend on them."
    yield table(
        ("Code", "Name", "Meaning"),
        [(str(int(code)), f"`{code.name}`", code.meaning) for code in ExitCode],
    )


def failure_codes() -> Iterator[str]:
    """Every known error code of services and of local jobs."""
    yield "# Failures of jobs and requests"
    yield (
        "What services and local jobs say when they refuse or fail, and what helps. Codes are an "
        "open set: one that is not here is shown as the service said it. `ftjobs explain "
        "insufficient_quota` prints an entry in the terminal, `ftjobs explain` the list. Where a "
        "code says little, ftjobs looks for the reason in the message."
    )
    for where, heading in WHERE.items():
        yield f"## {heading}"
        for known in failures.failures().values():
            if known.where == where:
                yield from failure_code(known)


def failure_code(known: failures.Failure) -> Iterator[str]:
    """One failure."""
    yield f"### `{known.code}`"
    yield f"*{known.title[0].upper()}{known.title[1:]}.* Said by: {known.said_by}."
    yield f"**Cause.** {known.cause}"
    yield f"**Remedy.** {known.remedy}"
    source = re.sub(r"(https://\S+?)(?=,|$)", r"<\1>", known.source)
    yield f"Source: {source} ({failure.MARKS[known.mark]})."


def settings() -> Iterator[str]:
    """Settings, keys, hyperparameters and sampling."""
    yield "# Settings"
    yield (inspect.getdoc(config) or "").partition("\n")[2].strip()
    yield (
        "`ftjobs.toml` and `config.toml` hold settings and "
        "[services of one's own](../how-to/hosted.md#services-of-your-own), never keys:"
    )
    yield '```toml\nbackend = "local"\ndisplay = "plain"\n```'
    yield "Two more come from the environment only, since they are secrets or may hold one:"
    yield table(
        ("Environment", "Meaning"),
        [
            ("`FTJOBS_NOTIFY`", "what `--notify` of `ftjobs watch` takes: a URL or a command"),
            (
                " or ".join(f"`{name}`" for name in SECRETS),
                "the secret of the webhooks that `--webhook` takes",
            ),
        ],
    )
    yield "## Server"
    yield (
        "Of `[serve]`, what [`ftjobs serve`](../how-to/serve.md) bears; a few are flags too. Paths "
        "are relative to the file that says them."
    )
    yield table(("Name", "Default", "Meaning"), [*served()])
    yield "## Keys"
    yield (
        "Keys come from the environment, then from the system's keyring, never from a flag or a "
        "file; see [how](../how-to/hosted.md#keys)."
    )
    services = [(f"`{name}`", *variables(each)) for name, each in profiles.PROFILES.items()]
    others = [("a base URL", *variables(profiles.ANY_URL)), ("`local`", "none", "none")]
    yield table(("Backend", "Key", "Other variables"), [*services, *others])
    yield (
        "`FTJOBS_KEY_<HOST>` goes before them: a key for one host, such as "
        "`FTJOBS_KEY_LLM_EXAMPLE_COM` for `llm.example.com`."
    )
    yield "## Services"
    yield from services_table()
    yield "## Fields of a profile"
    yield (
        "Of `[profiles.NAME]`, a service of one's own or a change to one above; what a project's "
        "`ftjobs.toml` may not set is in "
        "[Services of your own](../how-to/hosted.md#services-of-your-own)."
    )
    yield table(("Field", "Meaning"), [*attributes(profiles.Profile)])
    yield "Of its `capabilities`:"
    yield field_table(Capabilities)
    yield "## Hyperparameters"
    yield (
        "Keywords of `client.submit`, and options of `ftjobs submit` with `-` for `_`. What is "
        "left out, or `auto`, is [chosen by the backend](../explanation/automatic-settings.md)."
    )
    yield field_table(Hyperparameters)
    yield "Which of them a service takes is in [the table above](#services)."
    yield "## Sampling"
    programs = [f"`{name}`" for name in Sampling.model_fields if name in FOR_PROGRAMS]
    yield (
        "Fields of `ftjobs.Sampling`. They are options of `ftjobs chat` and `ftjobs compare` too, "
        f"but for {', '.join(programs)}, which are for programs."
    )
    yield field_table(Sampling)
    yield who_draws()


def served() -> Iterator[tuple[str, str, str]]:
    """The settings of a server, with their defaults in units that can be read."""
    for name, field in Options.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, tuple):
            default = ", ".join(default)
        text = f"{default:,}" if isinstance(default, int) else str(default or "none")
        if name.endswith("_bytes"):
            text = f"{default / MiB:,.0f} MiB"
        yield f"`{name}`", text, field.description or ""


def who_draws() -> str:
    """Which services know more or fewer of the sampling settings than OpenAI's wire has."""
    usual = Capabilities().sampling
    more = [name for name in Sampling.model_fields if name not in usual]
    known = {
        name: [setting for setting in more if setting in profile.capabilities.sampling]
        for name, profile in profiles.PROFILES.items()
    }
    lines = [
        f"* `{name}`: {', '.join(f'`{setting}`' for setting in settings)}"
        for name, settings in {"local": more, **known}.items()
        if settings
    ]
    return "\n".join(
        [
            f"{', '.join(f'`{name}`' for name in more)} are no part of OpenAI's wire, and are "
            "refused where a service does not know them. These do:\n",
            *lines,
        ]
    )


def variables(profile: profiles.Profile) -> tuple[str, str]:
    """The variables of a profile's key, and those of its other fields."""
    keys = " or ".join(f"`{name}`" for name in profile.key_variables)
    return keys, ", ".join(f"`{name}`" for name in sorted(profile.variables())) or "none"


def services_table() -> Iterator[str]:
    """What each service can do, and what to know about it, with how it is known."""
    yield (
        "As `ftjobs/backends/profiles.toml` says it. Nothing here was run against a paid account. "
        "V: run or read in the released source; D: the vendor's documentation; T: a third party; "
        "I: inferred."
    )
    head = ("Backend", "Methods", "Hyperparameters", "Also", "Checked")
    yield table(head, [(f"`{name}`", *able(each)) for name, each in profiles.PROFILES.items()])
    notes = [
        f"* `{name}`: {note.text} ({note.mark})"
        for name, profile in profiles.PROFILES.items()
        for note in profile.notes
    ]
    yield "\n".join(notes)


def able(profile: profiles.Profile) -> tuple[str, ...]:
    """What a service can do, as cells."""
    can = profile.capabilities
    also = [name for name in ("pause", "metadata", "events", "checkpoints") if getattr(can, name)]
    chosen = (name for name in Hyperparameters.model_fields if name in can.hyperparameters)
    settings = ", ".join(f"`{name}`" for name in chosen)
    return ", ".join(sorted(can.methods)), settings, ", ".join(also), str(profile.checked)


def attributes(kind: type) -> Iterator[tuple[str, str]]:
    """The names and meanings in a class's docstring."""
    for name, text in re.findall(r"^    (\w+): (.+)$", inspect.getdoc(kind) or "", re.MULTILINE):
        yield f"`{name}`", text


def field_table(model: type[BaseModel]) -> str:
    """The fields of a schema class."""
    fields = model.model_fields.items()
    return table(("Name", "Meaning"), [(f"`{n}`", f.description or "") for n, f in fields])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *([c.replace("|", "\\|") for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write the pages."""
    made = pages()
    (REFERENCE / "codes").mkdir(parents=True, exist_ok=True)
    for path in REFERENCE.rglob("*.md"):
        if path.relative_to(REFERENCE).as_posix() not in made:
            path.unlink()
    for name, text in made.items():
        (REFERENCE / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
