"""Which output of a model each class of some images is: by its name, its synset or its number."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from keras_mobilenet.evaluation.labelled.ground_truth import with_ground_truth
from keras_mobilenet.evaluation.labelled.image_lists import Data, Listing, list_images
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.images.model_info import Label, checked_labels, words_of

BACKGROUND = "background"  # the class ahead of ImageNet's 1000 in TF-slim's nets
_SHOWN = 3


@dataclass(frozen=True)
class Truth:
    """Images, each with the number of the output that is its class."""

    examples: tuple[tuple[str, int], ...]
    labels: tuple[Label, ...]  # of the outputs
    problems: tuple[str, ...]


def list_labelled(data: Data, ground_truth: str | None = None) -> Listing:
    """Return images with their classes as people name them.

    Args:
        data: A folder of class folders, a CSV file, pairs, or the folder of a run.
        ground_truth: A file with the classes of a flat folder's images: see `with_ground_truth`.

    Raises:
        ValueError: there is no image, or a file is none of these.
    """
    if ground_truth is None:
        return list_images(_validation_of_run(data))
    if not isinstance(data, (str, os.PathLike)):
        raise ValueError("`ground_truth` is of a flat folder's images. Pass the folder as `data`.")
    return with_ground_truth(os.fspath(data), ground_truth)


def truth_of(listing: Listing, outputs: int, labels: Sequence[Label] | None) -> Truth:
    """Return labelled images as a model's outputs number their classes.

    Args:
        listing: What `list_labelled` returned.
        outputs: How many classes the model has.
        labels: Their names, if they are known; ImageNet's are taken for 1000 or 1001.

    Raises:
        ValueError: a class is none of the model's, or there are not as many labels as outputs.
    """
    known = _known_labels(outputs, labels)
    index = _index({label for _, label in listing.pairs}, outputs, known)
    names = known or tuple(map(str, range(outputs)))
    classes: dict[str, dict[int, str]] = {}
    for path, label in listing.pairs:
        classes.setdefault(path, {})[index[label]] = label
    problems = [*map(str, listing.problems), *_contradictions(classes)]
    examples = tuple(
        (path, next(iter(places))) for path, places in classes.items() if len(places) == 1
    )
    if not examples:
        raise ValueError(f"There is no image of one class. {problems[-1]}")
    return Truth(examples, names, tuple(problems))


def _contradictions(classes: Mapping[str, Mapping[int, str]]) -> Iterator[str]:
    """Yield the images that a list has in several classes: no answer would be right."""
    for path, places in classes.items():
        if len(places) > 1:
            yield f"{path}: is in several classes ({', '.join(places.values())}), and left out"


def _validation_of_run(data: Data) -> Data:
    """Return the list of the images that a run was validated with, where `data` is its folder."""
    if isinstance(data, (str, os.PathLike)):
        listed = os.path.join(data, "validation.csv")
        if os.path.exists(os.path.join(data, "model.keras")) and os.path.exists(listed):
            return listed
    return data


def _known_labels(outputs: int, labels: Sequence[Label] | None) -> tuple[Label, ...] | None:
    classes = imagenet_classes()
    if labels is not None:
        return checked_labels(labels, outputs)
    if outputs == len(classes):
        return classes
    return (BACKGROUND, *classes) if outputs == len(classes) + 1 else None


def _index(wanted: Iterable[str], outputs: int, labels: tuple[Label, ...] | None) -> dict[str, int]:
    """Return the output of each class that the images have.

    Raises:
        ValueError: one is none of the model's, or of several.
    """
    classes = sorted(wanted)
    first = int(labels is not None and labels[0] == BACKGROUND and outputs == 1001)
    by_name = _outputs_by_name(labels or ())
    numbers = {str(i): [i + first] for i in range(outputs - first)}
    for table in (by_name, numbers):
        if all(_key(name) in table for name in classes):
            found = {name: table[_key(name)] for name in classes}
            _check_single(found)
            return {name: places[0] for name, places in found.items()}
    unknown = [name for name in classes if _key(name) not in by_name]
    shown = "the model does not name its classes; pass `labels` (--labels), the names in order"
    if labels is not None:
        names = [*map(words_of, labels[:_SHOWN])]
        shown = f"the model's are {', '.join(names)}, ..."
    raise ValueError(
        f"The images have classes that are none of the model's: {', '.join(unknown[:_SHOWN])}"
        f"{' ...' if len(unknown) > _SHOWN else ''}; {shown}. Name the folders by the classes' "
        f"names, by synset ids, or by numbers from 0 to {outputs - first - 1}."
    )


def _outputs_by_name(labels: Sequence[Label]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        for name in {label} if isinstance(label, str) else set(label):
            table.setdefault(_key(name), []).append(i)
    return table


def _key(name: str) -> str:
    """Return a name as it is compared: `Egyptian cat` is `Egyptian_cat`, and `007` is `7`."""
    if name.isascii() and name.isdigit():
        return str(int(name))
    return name.replace(" ", "_").replace("-", "_").casefold()


def _check_single(found: dict[str, list[int]]) -> None:
    several = [f"{name} ({', '.join(map(str, x))})" for name, x in found.items() if len(x) > 1]
    if several:
        raise ValueError(
            f"A class' name is that of several outputs: {'; '.join(several[:_SHOWN])}. Use synset "
            "ids or numbers instead of names."
        )
