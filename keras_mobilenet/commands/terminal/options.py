"""What several commands share: options, and what is said on stdout and stderr."""

from __future__ import annotations

import functools
import inspect
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_mobilenet.commands.terminal import completion
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.display.text_tables import Format
from keras_mobilenet.errors import CheckpointError, plain
from keras_mobilenet.images.pixel_scaling import TEXTS, Preprocessing, as_preprocessing
from keras_mobilenet.nets import net
from keras_mobilenet.nets.arguments import IMAGENET
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.families.registry import BY_KEY, family
from keras_mobilenet.nets.net import Size as PixelSize
from keras_mobilenet.nets.pretrained import label

if TYPE_CHECKING:
    from keras_mobilenet.checkpoints.net_weights import Builder


@dataclass(frozen=True)
class ImageSize:
    """The value of --size, in pixels; None where any length goes."""

    height: int | None = net.DEFAULT_SIZE
    width: int | None = net.DEFAULT_SIZE

    def __str__(self) -> str:
        lengths = dict.fromkeys("any" if n is None else str(n) for n in (self.height, self.width))
        return "x".join(lengths)

    @property
    def lengths(self) -> tuple[int | None, int | None]:
        """The (height, width)."""
        return self.height, self.width

    def known(self) -> PixelSize:
        """Return the (height, width).

        Raises:
            ValueError: one of them is not known.
        """
        if self.height is None or self.width is None:
            raise ValueError(f"--size must be known here, as in 224 or 224x320. Received: {self}")
        return self.height, self.width


DEFAULT_SIZE = ImageSize()
_OF_BUILDER = ("input_shape", "alpha", "minimalistic")  # what options say of a net


def image_size(text: Any) -> ImageSize:
    """Return what a text such as `"224"`, `"224x320"`, `"any"` or `"anyx320"` stands for.

    Raises:
        typer.BadParameter: it is none of those.
    """
    if isinstance(text, ImageSize):  # the default
        return text
    length = r"(\d{1,9}|any)"
    match = re.fullmatch(rf"{length}(?:x{length})?", str(text), re.ASCII)
    if match is None:
        raise typer.BadParameter(f"one length, height x width, or any: 224, 224x320. Not {text!r}")
    height, width = (None if n == "any" else int(n) for n in (match[1], match[2] or match[1]))
    return ImageSize(height, width)


def preprocessing(text: Any) -> Preprocessing:
    """Return the preprocessing that a text stands for.

    Raises:
        typer.BadParameter: it stands for none.
    """
    try:
        return as_preprocessing(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def names_in(file: Path | None) -> list[str] | None:
    """Return the names of classes in a file, one a line; None where there is no file."""
    return None if file is None else file.read_text(encoding="utf-8").splitlines()


PreprocessingOption = Annotated[
    Preprocessing | None,
    typer.Option(
        parser=preprocessing,
        metavar="TEXT",
        help="What the model needs done with pixels, 0 to 255, where it does not say so itself: "
        f"{TEXTS}.",
    ),
]
Labels = Annotated[Path | None, typer.Option(help="A file with the name of a class a line.")]
DEFAULT_NET = v1.FAMILY.key
DEFAULT_ALPHA = 1.0


def _net_option(by_default: str = "") -> Any:
    return typer.Option(
        "--net",
        metavar="NET",
        help=f"Which MobileNet: {', '.join(BY_KEY)}{by_default}.",
        autocompletion=completion.net,
    )


NetKey = Annotated[str, _net_option()]
# Where weights may tell their net: None is what they tell, or else the default.
NetKeyOfWeights = Annotated[
    str | None, _net_option(f"; by default that of the weights, or {DEFAULT_NET}")
]
Minimalistic = Annotated[
    bool,
    typer.Option("--minimalistic", help="V3 without squeeze-excite, 5 x 5 kernels and hard-swish."),
]
Alpha = Annotated[float, typer.Option(help="Width multiplier.")]
AlphaOfWeights = Annotated[
    float | None,
    typer.Option(help=f"Width multiplier; by default that of the weights, or {DEFAULT_ALPHA:g}."),
]
Size = Annotated[int, typer.Option(help="Height and width of the input in pixels.")]
AnySize = Annotated[
    ImageSize,
    typer.Option(
        parser=image_size,
        metavar="N|HxW|any",
        help="Of the input in pixels: one length, or height x width.",
    ),
]


@dataclass(frozen=True)
class NetOptions:
    """Which MobileNet the options of a command name."""

    net: str = DEFAULT_NET
    alpha: float = DEFAULT_ALPHA
    minimalistic: bool = False
    typed: bool = field(default=False, compare=False)  # also where it is what goes by default

    @classmethod
    def of(cls, net: str | None, alpha: float | None, minimalistic: bool) -> NetOptions:
        """Return those of a command whose weights may tell their net."""
        typed = net is not None or alpha is not None or minimalistic
        alpha = DEFAULT_ALPHA if alpha is None else alpha
        return cls(net or DEFAULT_NET, alpha, minimalistic, typed)

    def __str__(self) -> str:
        return label(family(self.net).name, self.alpha, minimalistic=self.minimalistic)

    def of_weights(self, weights: str | None) -> NetOptions:
        """Return those of weights that tell their net themselves, where no option names one."""
        own = _own_net(weights) if self._are_default else None
        if own is None:
            return self
        given = own.arguments
        alpha = given.get("alpha", DEFAULT_ALPHA)
        return NetOptions(own.net, alpha, bool(given.get("minimalistic")))

    @property
    def _are_default(self) -> bool:
        return not self.typed and self == NetOptions()

    @property
    def options(self) -> dict[str, Any]:
        """What the net alone takes."""
        return {"minimalistic": True} if self.minimalistic else {}

    def build(self, shape: Any, **others: Any) -> Any:
        """Return the Keras model for images of a shape."""
        from keras_mobilenet.checkpoints.building import build_net  # noqa: PLC0415 - loads Keras

        return build_net(self.net, shape, self.alpha, **self.options, **others)

    def builder(self, shape: Any, **others: Any) -> Builder:
        """Return the same net for what needs no Keras model, such as `Predictor`."""
        from keras_mobilenet.checkpoints.net_weights import Builder  # noqa: PLC0415 - loads NumPy

        arguments = {"input_shape": shape, "alpha": self.alpha, **self.options, **others}
        return Builder(self.net, arguments)

    def with_weights(self, weights: str, size: ImageSize, **others: Any) -> Builder:
        """Return the net of some weights for what needs no Keras model.

        What weights on the hub, or in a folder for it, tell of their net goes for it, but for what
        an option says. So does what a file tells, where no option names a net.
        """
        named = _named(weights)
        chosen = self.of_weights(weights) if named else self
        *lengths, channels = _shape_of(named) if named else (*size.lengths, 3)
        shape = (*(lengths if size is DEFAULT_SIZE else size.lengths), channels)
        given = {**named.arguments, **others} if named else {"weights": weights, **others}
        builder = chosen.builder(shape, **{k: x for k, x in given.items() if k not in _OF_BUILDER})
        if named or not self.is_guess(weights):
            return builder
        known = () if size is DEFAULT_SIZE else ("input_shape",)
        return replace(builder, guesses=tuple(n for n in _OF_BUILDER if n not in known))

    def is_guess(self, weights: str) -> bool:
        """Return whether a file of weights is to tell its net: no option does."""
        return self._are_default and weights != IMAGENET


def size_of_weights(size: ImageSize, weights: str | None) -> ImageSize:
    """Return the size that weights tell, as published ones do, where no other one was given."""
    own = _own_net(weights) if size is DEFAULT_SIZE else None
    return size if own is None else ImageSize(*_shape_of(own)[:2])


def _shape_of(builder: Builder) -> tuple[int | None, ...]:
    return builder.arguments.get("input_shape") or (*DEFAULT_SIZE.lengths, 3)


def tells_its_net(weights: str) -> bool:
    """Return whether weights say which net they are of: on the hub, or in a folder for it."""
    return _named(weights) is not None


@functools.cache  # the hub is asked once a command
def _named(weights: str) -> Builder | None:
    """Return the net of weights that tell it themselves, on the hub or in a folder for it.

    None of other files, whose net the options tell.

    Raises:
        DownloadError: they are no row, and neither at hand nor to be fetched.
    """
    from keras_mobilenet.checkpoints.hub_folders import is_hub_folder  # noqa: PLC0415 - NumPy
    from keras_mobilenet.checkpoints.published.names import is_name  # noqa: PLC0415

    if not (is_name(weights) or is_hub_folder(weights)):
        return None
    from keras_mobilenet.checkpoints.net_weights import published_builder  # noqa: PLC0415

    return published_builder(weights, {})


@functools.cache
def _own_net(weights: str | None) -> Builder | None:
    """Return the net of weights that tell it: by their name, in their folder, or in their file.

    None of a file that cannot be read or is no net's: whoever opens it next says why.
    """
    if weights is None or weights == IMAGENET:
        return None
    if named := _named(weights):
        return named
    from keras_mobilenet.checkpoints.net_weights import builder_of  # noqa: PLC0415 - loads NumPy

    with suppress(CheckpointError):
        return builder_of(weights)
    return None


PUBLISHED_NAME = (
    "the name of published ones (`weights list`, or hf://owner/name), a folder as the hub has them"
)
ENGINE = typer.Option(
    help="auto, litert, openvino, onnxruntime or keras.", autocompletion=completion.engine
)
PrecisionOption = Annotated[Precision | None, typer.Option(help="What to compute in.")]
Calibration = Annotated[
    Path | None, typer.Option(help="A folder of images to take int8 ranges from.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume what --out has.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Begin --out anew.")]
Chart = Annotated[Path | None, typer.Option(help="Draw a chart into this file.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the table is written.")]
NoTop = Annotated[bool, typer.Option("--no-top", help="Without the classifier.")]


def say(text: str) -> None:
    """Print a result, without what a terminal would obey in names from outside."""
    typer.echo(plain(text))


def note(text: str) -> None:
    """Say something that is not the result: on stderr, so that the result can be piped."""
    typer.echo(plain(text), err=True)


def own_streams(*, verbose: bool = False) -> None:
    """Let stdout and stderr say what the command says, in whatever encoding, and nothing else.

    Warnings of this package become notes; those of Pillow, Keras and others are not for users,
    unless a `verbose` command is asked for.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions and not verbose:  # which Python's -W or PYTHONWARNINGS set
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", category=UserWarning, module="keras_mobilenet")
        warnings.showwarning = _note_warning  # type: ignore[assignment]


def _note_warning(message: Warning | str, *_: Any) -> None:
    note(f"warning: {message}")


def parameters_of(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    """Return the parameters of a function, or of a dataclass, with their annotations resolved."""
    return inspect.signature(function, eval_str=True).parameters.values()


def with_signature(
    wrapper: Callable[..., None], parameters: Iterable[inspect.Parameter]
) -> Callable[..., None]:
    """Return `wrapper`, which takes anything by keyword, as a command with these options."""
    by_keyword = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    wrapper.__signature__ = inspect.Signature(by_keyword)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in by_keyword}
    return wrapper


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]|[KMG]i)?B?")


def bytes_in(option: str, text: str) -> int:
    """Return the bytes that a text names: `"256kB"` are 256,000, `"256KiB"` are 262,144.

    Raises:
        ValueError: the text is no number with one of those units; the error names `option`.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{option} must be a number of bytes, as in 256kB, 1.5MB or 512KiB. Received: {text!r}"
        )
    return round(float(match[1]) * _UNITS[match[2] or ""])


_COUNT = re.compile(r"(\d+(?:\.\d+)?) ?([kMG])?")


def count_in(option: str, text: str) -> int:
    """Return the number that a text such as `"5M"`, `"3.5M"` or `"5000000"` names.

    Raises:
        ValueError: the text is no such number; the error names `option`.
    """
    match = _COUNT.fullmatch(text.replace(",", ""))
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{option} must be a number, as in 3.5M or 5000000. Received: {text!r}")
    return round(float(match[1]) * _UNITS[match[2] or ""])
