"""The command line: parse → call the library → render.

Data goes to standard output, messages to standard error.  Errors are printed, and turned into
exit codes, in one place: `main`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from ftjobs.cli.app import App, Connect, LazyGroup, connect
from ftjobs.cli.show import clean_line, say
from ftjobs.errors import DatasetError, ExitCode, FtjobsError

COMMANDS = {
    "data": "Check, count, convert and split datasets.",
    "plan": "Say what a job would do and cost, and send nothing.",
    "apply": "Start the job of a plan.",
    "submit": "Check a dataset, upload it and start a job.",
    "watch": "Follow jobs until they end.",
    "jobs": "List, show and steer jobs.",
    "files": "List, show and delete uploaded files.",
    "models": "List, prepare, export and delete models.",
    "chat": "Ask a model.",
    "compare": "Ask a base model and its tuned model the same prompts.",
    "vote": "Choose between answers blind, and see how far a judge agrees.",
    "serve": "Serve the fine-tuning API of OpenAI from this machine.",
    "migrate": "Take an account's jobs, files and metrics along.",
    "rescue": "Store a model's answers while it lives.",
    "doctor": "Say what works here and what does not.",
    "explain": "Explain a code of a dataset, a job or a request.",
}
"""Commands in the order of help; `ftjobs.cli.NAME` holds `command`, loaded when it is used."""

ISSUES = 10  # printed of a dataset's


@click.group(
    cls=LazyGroup,
    commands_in=__name__,
    summaries=COMMANDS,
    context_settings={"max_content_width": 100},  # of help; prose in longer lines is hard to read
)
@click.version_option(package_name="ftjobs", prog_name="ftjobs")
def root() -> None:
    """Fine-tuning jobs: hosted while you have it, your own machine when you don't.

    ftjobs data check train.jsonl
    ftjobs submit train.jsonl --model smollm2-135m --n-epochs 3 --watch
    ftjobs --backend openai plan train.jsonl --model gpt-4.1-mini-2025-04-14
    ftjobs watch latest
    ftjobs compare eval.jsonl --base smollm2-135m --tuned ft:smollm2-135m:…
    """


def main(args: Sequence[str] | None = None, *, connect: Connect = connect) -> int:
    """Run one command and return its exit code; `connect` makes the client from the settings."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Japanese gets "?", no crash
    app = App(connect)
    try:
        code = root.main(args, prog_name="ftjobs", standalone_mode=False, obj=app)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return ExitCode.USAGE
    except BrokenPipeError:
        return _close_pipe()
    except FtjobsError as error:
        _explain(error, debug=app.debug)
        return error.exit_code
    except OSError as error:  # such as standard output on a full disk
        say(f"error: {clean_line(str(error))}")
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback by default
        say(f"unexpected {type(error).__name__}: {clean_line(str(error))}")
        say("This is a bug in ftjobs.  Run it with --debug to see where.")
        if app.debug:
            traceback.print_exc()
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.OK


def _open_closed_streams() -> None:
    """Let a stream that the caller closed (`>&-`) read nothing, or swallow what is written."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - kept


def _explain(error: FtjobsError, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    if isinstance(error, DatasetError) and len(error.issues) > 1:
        ranked = sorted(error.issues, key=lambda issue: issue.severity != "error")
        for issue in ranked[:ISSUES]:
            say(clean_line(f"{issue} ({issue.severity})"))
    say(f"error: {clean_line(error.message)}")
    if error.hint:
        for line in error.hint.split("\n"):  # only there: what a hint quotes may hold other ends
            say(clean_line(line))


def _close_pipe() -> int:
    """The reader has gone (`| head`): say nothing, and let the interpreter's own flush succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.FAILED
