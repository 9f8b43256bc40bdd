"""What a model says of one image, as a line of a file, from which everything else is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keras_mobilenet.deploy.folders.outputs import Output
from keras_mobilenet.deploy.folders.records import error_of, shortest
from keras_mobilenet.errors import unicode_text
from keras_mobilenet.images.model_info import Label, words_of


@dataclass(frozen=True)
class Scored:
    """What a model says of one image, or what is wrong with the image."""

    path: str
    true: int
    rank: int = 0  # of the true class, 0 for the most probable
    given: float = 0.0  # probability of the true class
    classes: tuple[tuple[int, float], ...] = ()  # the most probable and their probabilities
    fault: str | None = None


class ScoredLines:
    """A JSON object an image: its class, the five most probable ones, or an error."""

    header = b""
    quoted = False

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = labels

    def encode(self, result: Any) -> bytes:
        """Return the record of a `Scored`, with the line feed at its end."""
        record: dict[str, Any] = {"path": self.named(result.path), **self._class(result.true)}
        if result.fault:
            record["error"] = error_of(result)
        else:
            record |= {"rank": result.rank, "score": shortest(result.given)}
            record["predicted"] = [
                {**self._class(i), "score": shortest(score)} for i, score in result.classes
            ]
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8")

    def decode(self, record: bytes) -> tuple[str, str | None]:
        """Return path and fault in a record."""
        scored = self.scored(record)
        return scored.path, scored.fault

    def named(self, path: str) -> str:
        """Return a path as a record has it."""
        return unicode_text(path)

    def scored(self, record: bytes) -> Scored:
        """Return the result that a record tells.

        Raises:
            ValueError: it is no such record.
        """
        try:
            row = json.loads(record)
            classes = tuple((c["class"], c["score"]) for c in row.get("predicted", ()))
            return Scored(
                row["path"], row["class"], row.get("rank", 0), row.get("score", 0.0), classes,
                row.get("error"),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"no object of an image ({error})") from error

    def _class(self, index: int) -> dict[str, Any]:
        return {"class": index, "name": unicode_text(words_of(self._labels[index]))}


def read_scored(out: str, labels: Sequence[Label]) -> Iterator[Scored]:
    """Yield what `predicting.score` wrote, in its order, one at a time."""
    lines = ScoredLines(labels)
    return (lines.scored(record) for record, _ in Output(out, lines).log.records())
