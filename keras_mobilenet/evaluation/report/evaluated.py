"""An evaluation's report: the page that a training has, of a model on labelled images."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from keras_mobilenet.evaluation.report.comparison import Comparison, differences
from keras_mobilenet.evaluation.report.contents import Contents
from keras_mobilenet.evaluation.report.filters import plural
from keras_mobilenet.evaluation.report.mistakes import Mistake, mistake_cards
from keras_mobilenet.evaluation.report.report import write_page

if TYPE_CHECKING:
    from keras_mobilenet.evaluation.evaluating import Evaluation, ModelScore


def write_evaluation(path: str | PathLike[str], found: Evaluation) -> None:
    """Write how good a model is, and how another compares with it, as one HTML file.

    Raises:
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    first, second, metrics = found.first, found.second, found.metrics
    cards, unshown = mistake_cards(_mistakes(first), metrics.labels, None, crop=_crop(first))
    faults = (*first.problems, *first.bad, *(second.bad if second else ()))
    rate = {"images_per_second": first.images_per_second} if first.images_per_second else {}
    contents = Contents(
        title=f"{first.model} on {plural(metrics.count, 'image')}",
        labels=metrics.labels,
        settings={**first.settings, **rate},
        example="image",
        versions=first.versions,
        hashes=_hashes(found),
        problems=tuple(dict.fromkeys(faults)),  # both models report the same bad image
        cards=cards,
        unshown=unshown,
        comparison=_comparison(found),
    )
    write_page(path, contents, metrics)


def _crop(scored: ModelScore) -> float:
    return float(scored.settings["crop"] or 1)


def _mistakes(scored: ModelScore) -> list[Mistake]:
    return [
        Mistake(i, x.path, x.true, x.classes[0][0], x.classes[0][1], x.given)
        for i, x in enumerate(scored.mistakes)
    ]


def _comparison(found: Evaluation) -> Comparison | None:
    first, second = found.first, found.second
    if second is None or found.comparison is None:
        return None
    labels = first.metrics.labels, second.metrics.labels
    shown = differences(found.differences, labels, crop=_crop(first))
    names = found.names[0], found.names[1]
    return Comparison(names, (first, second), found.comparison, shown)


def _hashes(found: Evaluation) -> dict[str, str]:
    """Return the hashes of both models' files; of one name, the other's has its model before it."""
    first, second = found.first.files, found.second.files if found.second else {}
    others = {f"{found.names[1]}: {k}" if k in first else k: v for k, v in second.items()}
    return {**first, **others}
