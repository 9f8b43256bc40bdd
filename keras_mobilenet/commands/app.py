"""The command `keras-mobilenet`: parses, calls, prints. Only this folder prints.

Keras and TensorFlow are imported inside the commands that build a net, so that `--help` and `cost`
answer at once.
"""

from __future__ import annotations

import sys

import typer

from keras_mobilenet.commands import classify, nets, weights
from keras_mobilenet.commands.deploy import bench_command, export_command, latency_command
from keras_mobilenet.commands.terminal.options import ClassifyCommand, note, own_streams
from keras_mobilenet.commands.terminal.progress import waits_told
from keras_mobilenet.commands.terminal.quiet import native_notes_hidden
from keras_mobilenet.commands.train import finetune, train

app = typer.Typer(
    help="The MobileNets for Keras: look at a net, count what it costs, classify images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(nets.summary)
app.command("plot")(nets.plot_command)
app.command()(nets.cost)
app.command("sizes")(nets.sizes_command)
app.command()(nets.select)
app.command()(nets.paper)
app.add_typer(weights.app, name="weights")
app.command()(finetune)
app.command()(train)
app.command("export")(export_command)
app.command("bench")(bench_command)
app.command("latency")(latency_command)
app.command("classify", cls=ClassifyCommand)(classify.classify)


def main() -> None:
    """Run the command; an error of the user's is one message on stderr and exit code 1."""
    own_streams()
    try:
        with native_notes_hidden(), waits_told():
            app()
    except (ArithmeticError, ImportError, OSError, ValueError) as error:  # the first: it diverged
        note(f"error: {error}")
        sys.exit(1)
