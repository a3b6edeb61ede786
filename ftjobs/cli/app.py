"""What commands share: the settings and the client, made when first used, and lazy groups."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ftjobs.client import Client
    from ftjobs.config import Settings

Connect = Callable[["Settings"], "Client"]


def connect(settings: Settings) -> Client:
    """The client of the backend that the settings name."""
    from ftjobs import client

    return client.connect(settings=settings)


@dataclass
class App:
    """One run of the command line."""

    connect: Connect
    backend: str | None = None
    debug: bool = False
    _untrusted: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> Settings:
        """The settings in force.  ConfigError if they cannot be used."""
        from ftjobs.config import Settings

        return Settings.load(backend=self.backend, untrusted=self._untrusted)

    def take_backend(self, named: str | None) -> None:
        """Use the backend that a job or a plan names, unless the user named one on this line.

        Files come from others: such a backend gets no key that is not its own.
        """
        from ftjobs.config import Settings

        if named is None or self.backend is not None or Settings.load().backend == named:
            return
        self.backend, self._untrusted = named, ("backend",)

    @cached_property
    def client(self) -> Client:
        """The client, connected when first asked for."""
        return self.connect(self.settings)


pass_app = click.make_pass_decorator(App)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")


def _keep(context: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        setattr(context.find_object(App), str(param.name), value)


SHARED: list[click.Parameter] = [
    click.Option(
        ["--backend"],
        metavar="NAME|URL",
        expose_value=False,
        callback=_keep,
        help="Where: local, openai, a profile, or a base URL.  [env: FTJOBS_BACKEND]",
    ),
    click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_keep,
        help="Show tracebacks.",
    ),
]
"""Options that are understood before and after the command's name."""


_COLUMN = 30  # characters that help gives to the names of options


class _Shared(click.Command):
    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        if self.help:  # a paragraph of examples is shown line by line, as click asks for with \b
            self.help = re.sub(r"\n\n(?=ftjobs |cat )", "\n\n\b\n", inspect.cleandoc(self.help))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *SHARED, own[-1]]  # help stays last


class Command(_Shared):
    """A command that knows the shared options.

    Args:
        args: those of `click.Command`.
        sections: names of parameters by the heading under which help shows their options; what is
            in none of them comes last.
        attrs: those of `click.Command`.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **attrs: Any
    ) -> None:
        super().__init__(*args, **attrs)
        self.sections = sections or {}

    def options_by_section(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """The options in the order of help; those of no section under "Options"."""
        rest = {p.name: p for p in self.get_params(ctx) if isinstance(p, click.Option)}
        grouped = {
            title: [rest.pop(name) for name in names if name in rest]
            for title, names in self.sections.items()
        }
        return {**grouped, "Options": [*rest.values()]}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, with one margin for all."""
        written = {
            title: [record for option in options if (record := option.get_help_record(ctx))]
            for title, options in self.options_by_section(ctx).items()
        }
        names = [len(name) for records in written.values() for name, _ in records]
        margin = min(_COLUMN, max(names))
        for title, records in written.items():
            if records:
                with formatter.section(title):
                    rows = [(name.ljust(margin), text) for name, text in records]
                    formatter.write_dl(rows, col_max=_COLUMN)


class Group(_Shared, click.Group):
    """A group whose commands know the shared options."""

    command_class = Command


class LazyGroup(Group):
    """A group that imports a command's module when the command is used, and not for help.

    Args:
        commands_in: the package of the modules.
        summaries: the line of help of each command, by its name.
        attrs: those of `click.Group`.
    """

    def __init__(self, *, commands_in: str, summaries: Mapping[str, str], **attrs: Any) -> None:
        super().__init__(**attrs)
        self.package = commands_in
        self.summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of help."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, its module imported; None if there is none."""
        if cmd_name not in self.summaries:
            return None
        command: click.Command = import_module(f"{self.package}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the summaries, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))
