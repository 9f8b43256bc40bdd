"""The group of commands `keras-mobilenet weights ...`."""

from __future__ import annotations

import typer

from keras_mobilenet.commands.weights import card, files, published

app = typer.Typer(
    help="Weights: the published ones, what is in any file, and a folder for the hub.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("list")(published.list_command)
for command in (
    published.where, published.fetch, published.verify, files.inspect, files.convert, card.card,
):  # fmt: skip
    app.command()(command)
