"""What a source of weights did and shapes cannot show, above all where it padded.

Imports neither Keras nor NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Literal

Length = int | None  # in pixels; None where it is unknown
Zeros = tuple[int, int]  # before and after, on one axis
Padding = Literal["keras", "same", "symmetric"]
Activation = Literal["relu6", "relu"]  # of a net whose layers leave it to the caller
NO_ZEROS: tuple[Zeros, Zeros] = ((0, 0), (0, 0))
STEM_STRIDE = 2  # of every MobileNet


@dataclass(frozen=True)
class Window:
    """A convolution that moves by more than one pixel, or would, and what it meets."""

    kernel: int
    stride: int
    size: tuple[Length, Length]  # (height, width) of its input, without zeros around it
    is_stem: bool


@dataclass(frozen=True)
class Conventions:
    """What a source of weights did and shapes cannot show. The defaults are those of Keras.

    `padding` is that of the strided convolutions: `"keras"` is the one of the net's own builder,
    `"same"` is TF-slim's and Hugging Face's, `"symmetric"` is PyTorch's, for the stem too. An
    `activation` of `"relu"` has no limit: MLPerf Tiny's visual wake words net is such.
    """

    epsilon: float = 1e-3  # of every batch norm
    padding: Padding = "keras"
    activation: Activation = "relu6"  # behind every batch norm that has no other

    def fits(
        self, other: Conventions, windows: Sequence[Window] | None, zeros: ZerosOf | None
    ) -> bool:
        """Return whether the two are one function for a net that has these windows.

        `windows` is None where a stride was left out, as no two paddings are one function there;
        `zeros` is what the net's family pads.
        """
        # Stored in float32 here or there.
        if not isclose(self.epsilon, other.epsilon, rel_tol=1e-6):
            return False
        if self.activation != other.activation:
            return False
        if self.padding == other.padding:
            return True
        return windows is not None and zeros is not None and all(
            zeros(self.padding, window, n) == zeros(other.padding, window, n)
            for window in windows
            for n in window.size
        )  # fmt: skip


ZerosOf = Callable[[Padding, Window, Length], Zeros | None]  # None: SAME, on an unknown length


def same_zeros(length: int, kernel: int, stride: int, dilation: int = 1) -> Zeros:
    """Return the zeros before and after that TensorFlow's SAME padding adds to an axis."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Step:
    """How a block's window moves over its input."""

    stride: int
    dilation: int
    pad: tuple[Zeros, Zeros] | None  # of a layer ahead of it; None where the convolution pads


def steps(
    windows: Iterable[tuple[int, int]],
    padding: Padding,
    output_stride: int,
    size: tuple[Length, Length],
    zeros: ZerosOf,
) -> Iterator[Step]:
    """Yield how each window moves; past `output_stride` strides become dilations.

    A stride that is left out dilates what follows it by as much, as in TF-slim's
    `mobilenet_v1_base`: every later kernel then sees the inputs that it was trained on.

    Args:
        windows: Each block's kernel and stride.
        padding: That of the strided convolutions.
        output_stride: The image's size over that of the last output.
        size: (height, width) of the image, None where unknown.
        zeros: What the family pads.
    """
    stride, dilation = STEM_STRIDE, 1
    size = _divided(size, STEM_STRIDE)
    for kernel, own in windows:
        if own == 1:
            yield Step(1, dilation, None)
            continue
        window = Window(kernel, own, size, is_stem=False)
        pad = None if padding == "same" else _on_both_axes(zeros, padding, window)
        size = _divided(size, own)
        if stride * own <= output_stride:
            yield Step(own, dilation, pad)
            stride *= own
        else:
            dense = [_dense(on_axis, kernel, dilation) for on_axis in pad or ()]
            yield Step(1, dilation, (dense[0], dense[1]) if dense else None)
            dilation *= own


def _on_both_axes(zeros: ZerosOf, padding: Padding, window: Window) -> tuple[Zeros, Zeros]:
    height, width = (zeros(padding, window, n) or (0, 0) for n in window.size)
    return height, width


def _divided(size: tuple[Length, Length], stride: int) -> tuple[Length, Length]:
    height, width = (None if n is None else -(-n // stride) for n in size)
    return height, width


def _dense(pad: Zeros, kernel: int, dilation: int) -> Zeros:
    """Return the zeros under which leaving out a stride keeps every output there was.

    The window of output i of the strided convolution begins `before` zeros ahead of input `2 i`;
    its dense outputs `2 i` begin there too. `"same"` is slim's: the convolution pads itself and
    centres its windows. The strided ones are centred on `2 i` of an odd length, but on `2 i + 1`
    of an even one.
    """
    before, _ = pad
    return before * dilation, (kernel - 1 - before) * dilation


def centred_zeros(kernel: int) -> Zeros:
    """Return the zeros that PyTorch's nets pad on either side."""
    return kernel // 2, kernel // 2
