"""The message for a file that does not fit a model: both sides, and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike

from keras_mobilenet.errors import fault
from keras_mobilenet.formats.arrays import Comparison, shortened
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families.registry import family, recognise
from keras_mobilenet.nets.net import Origin, Shape


def mismatch_message(
    path: str | PathLike[str],
    comparison: Comparison,
    origin: Origin | None,
    expected: Mapping[str, Shape],
) -> str:
    """Return the message for a file whose arrays differ from what the model expects."""
    model = recognise(expected)
    named = f"{model.net}({model})" if model else "the model"
    if origin and (not model or origin.net != model.net):
        is_a = f"the model is a {model.net}" if model else "the model is another net"
        problem = f"these are the weights of {origin.net}, {origin}; {is_a}."
        in_commands = f"{_options(origin)} in commands"
        return fault(
            path, problem, f"Build a {origin.net} for it ({in_commands}), or pass another file."
        )
    lines = [f"{os.fspath(path)} does not fit {named}."]
    width = max((len(row[0]) for row in comparison.shape_differs), default=0)
    differs = [f"{n:{width}}  file {a}  model {b}" for n, a, b in comparison.shape_differs]
    for label, rows in (
        ("shape differs", differs),
        ("not in the file", comparison.missing),
        ("not in the model", comparison.unexpected),
    ):
        if rows:
            lines += [f"  {label} ({len(rows)}):", *(f"    {row}" for row in shortened(rows))]
    return "\n".join([*lines, _remedy(comparison, origin, model)])


def _options(origin: Origin) -> str:
    """Return the options with which a command builds a net."""
    alone = "".join(f" --{name}" for name, value in origin.options.items() if value is True)
    return f"--net {family(origin.net).key} --alpha {origin.alpha:g}{alone}"


def _remedy(comparison: Comparison, file: Origin | None, model: Origin | None) -> str:
    if file and model and file != model:
        ours = model.arguments()
        differing = {k: v for k, v in file.arguments().items() if v != ours.get(k)}
        arguments = ", ".join(f"{k}={v!r}" for k, v in differing.items())
        remedy = f"Build the model with {arguments}, or pass another file."
        return f"The file was made with {file}. {remedy}"
    if not comparison.fitting and not comparison.shape_differs:
        nothing = "No array of the file has a name of the model's."
        if not _is_alike_in_order(comparison):
            net = f"a {model.net}" if model else "the model's net"
            return f"{nothing} Pass a file of {net}."
        return (
            f"{nothing} If its layers are the model's in the same order under other names, pass "
            "by_order=True to load_weights."
        )
    return "Pass another file, or strict=False to load_weights to load what fits."


def _is_alike_in_order(comparison: Comparison) -> bool:
    """Return whether the two hold the same variables in turn, of layers of other names."""
    model, file = (
        [name.rpartition("/")[2] for name in names]
        for names in (comparison.missing, comparison.unexpected)
    )
    return model == file


def other_conventions(
    path: str | PathLike[str], file: Conventions, model: Conventions, net: str = "MobileNet"
) -> str:
    """Return the message for a file whose conventions are not the model's."""
    wanted = {k: v for k, v in vars(file).items() if v != vars(model)[k]}
    arguments = ", ".join(f"{k}={v!r}" for k, v in wanted.items())
    return fault(
        path,
        f"the file's weights go with {file}, the model has {model}. "
        "Shapes cannot show it, and the predictions would be wrong.",
        f"Build the model with {arguments}, or by {net}(weights=path), which follows the file.",
    )


def undecided(path: str | PathLike[str], candidates: Mapping[str, Conventions]) -> str:
    """Return the message for a file of one of several nets that have the same arrays.

    `candidates` are their conventions, by what the nets' names begin with.
    """
    nets = {
        beginning: f"epsilon={known.epsilon!r}, padding={known.padding!r}"
        for beginning, known in candidates.items()
    }
    which = "; ".join(f"{arguments} for {beginning}_*" for beginning, arguments in nets.items())
    problem = (
        f"its arrays are those of {' and '.join(f'{beginning}_*' for beginning in nets)} alike, "
        "which compute differently, and nothing beside them tells which of these it is."
    )
    return fault(
        path, problem,
        f"Build the model with what it goes with ({which}), or let its name begin with the net's, "
        f"as in {next(reversed(nets))}_large_100.safetensors.",
    )  # fmt: skip
