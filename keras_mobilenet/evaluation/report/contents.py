"""What a report's page shows besides the metrics, whether of a training or of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_mobilenet.evaluation.report.comparison import Comparison
from keras_mobilenet.evaluation.report.mistakes import Card, Mistake, WrongAnswer


@dataclass(frozen=True)
class Contents:
    """All that the templates ask of what was trained or evaluated; what is empty is not shown."""

    title: str
    labels: tuple[str, ...]
    settings: Mapping[str, Any]
    example: str  # what one of those that were counted is called
    problems: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)  # of the weights, or of their files
    cards: Sequence[Card] = ()  # of the most confident mistakes
    unshown: Sequence[Mistake] = ()  # those among them without an image
    wrong_answers: Sequence[WrongAnswer] = ()  # in their place where an image has several classes
    wrong_count: int = 0
    comparison: Comparison | None = None

    @property
    def has_maps(self) -> bool:
        """Whether a card shows where the model looked."""
        return any(len(card.images) > 1 for card in self.cards)
