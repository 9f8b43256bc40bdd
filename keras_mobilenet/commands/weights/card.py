"""The command `keras-mobilenet weights card`: a run as a folder for the hub, and onto it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_mobilenet.commands.terminal.options import note, say
from keras_mobilenet.commands.terminal.progress import doing


def card(
    run: Annotated[
        Path,
        typer.Argument(
            help="The folder of a run of `finetune` or `train`; with --push also one that this "
            "command wrote before, which goes as it is."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; by default RUN/hub.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace such files in it.")
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload it to this repository, after asking."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, only its owner sees it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Upload without asking.")] = False,
) -> None:
    """Write a run as a folder for Hugging Face's hub: weights, settings and a model card.

    `--weights FOLDER` and `from_pretrained` open it, or hf://OWNER/NAME once it is pushed.
    """
    from keras_mobilenet.checkpoints.hub_folders import is_hub_folder  # noqa: PLC0415 - NumPy

    if push is None and (private or yes):
        raise typer.BadParameter("--private and --yes are for --push.")
    folder = _folder(run, out, push, overwrite=overwrite, is_ready=is_hub_folder(run))
    if folder != run:
        from keras_mobilenet.training.run_files import check_run  # noqa: PLC0415 - NumPy

        check_run(run)
    name = None if push is None else _checked(push, yes=yes)
    if folder != run:
        from keras_mobilenet.training.run_files import write_hub_folder_of_run  # noqa: PLC0415

        with doing(f"writing {folder}"):
            write_hub_folder_of_run(run, folder, name=name and f"hf://{name}", overwrite=overwrite)
        say(f"wrote {folder}")
    if name is None:
        note(f"read {folder / 'README.md'}, and then: keras-mobilenet weights card {folder} "
             "--push OWNER/NAME")  # fmt: skip
    elif yes or _may_push(folder, name):
        _push(folder, name, private=private)


def _checked(push: str, *, yes: bool) -> str:
    """Return the repository's name, once all is there that pushing to it takes."""
    from keras_mobilenet.checkpoints.writing.hub_push import check_push  # noqa: PLC0415 - NumPy

    name = check_push(push)
    if not yes and not _can_answer():
        raise typer.BadParameter("--push asks first, and nobody is here to answer. Pass --yes.")
    return name


def _can_answer() -> bool:
    return sys.stdin.isatty()


def _folder(
    run: Path, out: Path | None, push: str | None, *, overwrite: bool, is_ready: bool
) -> Path:
    """Return the folder for the hub, which is `run` itself where that is one already."""
    folder = out or run / "hub"
    if not is_ready:
        if push is not None and not overwrite and (folder / "config.json").exists():
            raise typer.BadParameter(
                f"{folder} is there already. To upload it as it is: keras-mobilenet weights card "
                f"{folder} --push {push}. To write it anew, pass --overwrite."
            )
        return folder
    if push is None or out is not None or overwrite:
        raise typer.BadParameter(
            f"{run} is a folder for the hub already. Pass --push OWNER/NAME alone, or a run."
        )
    return run


def _may_push(folder: Path, name: str) -> bool:
    from keras_mobilenet.checkpoints.writing.hub_push import is_there  # noqa: PLC0415 - NumPy

    what = "is there; its files of the same names are replaced" if is_there(name) else "is made"
    if typer.confirm(f"Push {folder} to {name} ({what})?", err=True):
        return True
    note("nothing was pushed")
    return False


def _push(folder: Path, name: str, *, private: bool) -> None:
    from keras_mobilenet.checkpoints.writing.hub_push import name_in_card, push  # noqa: PLC0415

    name_in_card(folder, name)
    with doing(f"uploading to {name}"):
        address = push(folder, name, private=private)
    say(address)
    note(f"try: keras-mobilenet classify --weights hf://{name} IMAGE")
