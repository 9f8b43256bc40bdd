"""The command `keras-mobilenet`: parses, calls, prints. Only this folder prints.

A command's module is imported when it is asked for, and Keras and TensorFlow inside the commands
that build a net, so that `--help` and `classify` answer at once.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import keras_mobilenet
from keras_mobilenet.commands.terminal.options import note, own_streams, say
from keras_mobilenet.commands.terminal.progress import waits_told
from keras_mobilenet.commands.terminal.quiet import native_notes_hidden, show_native_notes

# The module of each command and what in it is the command: a function, or several in an app.
COMMANDS = {
    "summary": "nets.summary",
    "plot": "nets.plot_command",
    "cost": "nets.cost",
    "sizes": "nets.sizes_command",
    "select": "nets.select",
    "paper": "nets.paper",
    "finetune": "train.finetune",
    "train": "train.train",
    "export": "deploy.export_command",
    "bench": "deploy.bench_command",
    "latency": "deploy.latency_command",
    "classify": "classify.app",
    "evaluate": "evaluate.evaluate_command",
    "weights": "weights.group.app",
    "doctor": "doctor.doctor",
}
# How many are made between two searches for garbage. Imports make many, and none of it: with
# Python's 700 the searches take a fifteenth of the time of `classify`.
_OBJECTS = 200_000
_STYLE: Any = {"add_completion": False, "pretty_exceptions_enable": False}


class _Modules(Mapping[str, Any]):
    """The commands by name, each of which is imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name].rpartition(".")
        found = getattr(importlib.import_module(f"keras_mobilenet.commands.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(**_STYLE)
            alone.command(name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _Modules()


app = typer.Typer(cls=_Commands, no_args_is_help=True, **_STYLE | {"add_completion": True})


def _print_version(asked: bool) -> None:
    if asked:
        say(f"keras-mobilenet {keras_mobilenet.__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Show what native libraries write, others' warnings, and where an error arose; "
            "also behind the command.",
        ),
    ] = False,
) -> None:
    """The MobileNets for Keras: look at a net, count what it costs, classify images."""


def main() -> None:
    """Run the command; an error of the user's is one message on stderr and exit code 1."""
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)  # nor is there a last search: the system takes all memory back
    verbose, arguments = _asked_for(sys.argv[1:])
    own_streams(verbose=verbose)
    if verbose:
        show_native_notes()
    try:
        with native_notes_hidden(), waits_told():
            app(arguments)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to flush goes there
        sys.exit(1)
    except (ArithmeticError, ImportError, OSError, ValueError) as error:  # the first: it diverged
        if verbose:
            traceback.print_exc()
        note(f"error: {error}")
        sys.exit(1)


def _asked_for(arguments: list[str]) -> tuple[bool, list[str]]:
    """Return whether `-v` stands anywhere among the arguments, and the others."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags, others = ("-v", "--verbose"), arguments[end:]
    kept = [argument for argument in arguments[:end] if argument not in flags]
    return len(kept) < end, kept + others
