"""A model card: what a folder's `README.md` says of the model, to people and to the hub.

Source of the fields between the dashes: huggingface_hub's `repocard_data.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from keras_mobilenet.checkpoints.hub_folders import LIBRARY, HubConfig
from keras_mobilenet.checkpoints.published.hub import licence_of
from keras_mobilenet.errors import plain_line
from keras_mobilenet.images.model_info import Label, words_of
from keras_mobilenet.images.pixel_scaling import Numbers
from keras_mobilenet.nets.costs.layers import net_costs
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import DEFAULT_SIZE, Net, Size
from keras_mobilenet.nets.published import table

_SHOWN = 20  # classes that are named one by one
_TASK = "image-classification"
_FEATURES = "image-feature-extraction"
_MARKS = frozenset("\\`*_{}[]<>()#+-!|~&")  # of Markdown and HTML
_SHARES = {
    "top_2": "true class among the first two",
    "top_5": "true class among the first five",
    "mean_average_precision": "mean average precision of the classes",
    "micro_f1": "F1 of all answers together",
    "macro_f1": "mean F1 of the classes",
}
_NUMBERS = {"log_loss": "log loss, in nats", "calibration_error": "calibration error"}


@dataclass(frozen=True)
class Background:
    """What a card says beside the net: where it comes from, and how good it is.

    Attributes:
        base: What it was trained from, in words.
        base_model: The same as a repository of the hub, where it is one.
        licence: Of that, as the hub writes it; None where it is not known.
        metrics: What a run's `metrics.json` holds; empty without a run.
    """

    base: str = ""
    base_model: str | None = None
    licence: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_source(cls, source: str | None) -> Self:
        """Return that of weights of the hub, `"owner/name@commit"`; of None, nothing is known."""
        if source is None:
            return cls()
        repository = source.partition("@")[0]
        row = table.find(repository)
        return cls(repository, repository, row.licence if row else licence_of(source))


def card_of(config: HubConfig, net: Net, background: Background, name: str) -> str:
    """Return the text of a model card.

    Args:
        config: The net's arguments, its preprocessing and its labels.
        net: The net itself.
        background: What else there is to say.
        name: What the lines of code open: a folder's path, or `"hf://owner/name"`.
    """
    height, width = (n or DEFAULT_SIZE for n in _size(config))
    title = f"{family(config.net).name}, alpha {config.arguments.get('alpha', 1.0):g}"
    sections = (
        f"# {title}\n\n{_about(config, net, (height, width), background)}",
        _use(config, net, name),
        _metrics(background.metrics),
        _preprocessing(config, (height, width)),
        _labels(config.info.labels),
        _licence(background),
    )
    text = "\n\n".join(section for section in sections if section)
    return f"{_front_matter(config, net, background, title)}\n{text}\n"


def _size(config: HubConfig) -> tuple[int | None, int | None]:
    height, width, _ = config.arguments.get("input_shape") or (None, None, 3)
    return height, width


def _front_matter(config: HubConfig, net: Net, background: Background, title: str) -> str:
    """Return what the hub reads, YAML, in which texts are as in JSON."""
    record: dict[str, Any] = {
        "library_name": LIBRARY,
        "license": background.licence,
        "pipeline_tag": _TASK if net.classifier else _FEATURES,
        "tags": [*dict.fromkeys(("keras", "mobilenet", config.net))],
        "base_model": background.base_model,
        "model-index": _results(background.metrics, title),
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in record.items() if value is not None]
    return "\n".join(("---", *lines, "---"))


def _results(metrics: Mapping[str, Any], title: str) -> list[dict[str, Any]] | None:
    if "accuracy" not in metrics:
        return None
    result = {
        "task": {"type": _TASK},
        "dataset": {"type": "imagefolder", "name": "validation images of the run"},
        "metrics": [{"type": "accuracy", "value": round(metrics["accuracy"], 4)}],
    }
    return [{"name": title, "results": [result]}]


def _about(config: HubConfig, net: Net, size: Size, background: Background) -> str:
    macs = sum(cost.macs for cost in net_costs(net, size))
    classes = net.classifier.channels if net.classifier else 0
    what = f"for {classes:,} classes" if classes else "without a classifier: it puts out features"
    height, width = size
    sentences = [
        f"A {family(config.net).name} {what}, with {net.count_params():,} parameters and "
        f"{macs / 1e6:,.1f} million multiply-accumulates for an image of {height} x {width} pixels."
    ]
    if background.base:
        sentences.append(f"It was trained from {_cell(background.base)}.")
    return " ".join(sentences)


def _use(config: HubConfig, net: Net, name: str) -> str:
    call = "print(next(predictor.classify('image.jpg')).predictions)"
    if net.classifier is None or config.info.labels is None:
        call = "print(predictor.predict('image.jpg'))"
    return f"""## Use

`pip install 'keras-mobilenet[hub]'`, and

```python
from keras_mobilenet import Predictor
{code_line(name)}
{call}
```

`keras_mobilenet.from_pretrained` with the same name returns the Keras model."""


def code_line(name: str) -> str:
    """Return the line of a card's code that opens the model."""
    return f"predictor = Predictor({plain_line(name)!r})"


def _metrics(metrics: Mapping[str, Any]) -> str:
    if "accuracy" not in metrics:
        return ""
    what = "all classes of an image right" if metrics.get("multi_label") else "accuracy"
    rows = [(what, _share_with_interval(metrics))]
    rows += [(text, _percent(metrics[x])) for x, text in _SHARES.items() if _is_known(metrics, x)]
    rows += [(text, f"{metrics[x]:.3f}") for x, text in _NUMBERS.items() if _is_known(metrics, x)]
    lines = (f"| {text} | {value} |" for text, value in rows)
    head = ("## Metrics", "", "| on the run's validation images | |", "|---|---|")
    return "\n".join((*head, *lines, *_classes(metrics.get("classes") or ())))


def _is_known(metrics: Mapping[str, Any], name: str) -> bool:
    return metrics.get(name) is not None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _share_with_interval(metrics: Mapping[str, Any]) -> str:
    low, high = (100 * share for share in metrics["interval"])
    return (
        f"{_percent(metrics['accuracy'])}, 95 % interval {low:.1f} to {high:.1f} % "
        f"({metrics['correct']} of {metrics['count']})"
    )


def _classes(classes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not 1 < len(classes) <= _SHOWN:
        return
    yield from ("", "| class | images | precision | recall |", "|---|---|---|---|")
    for row in classes:
        shares = f"{_percent(row['precision'])} | {_percent(row['recall'])}"
        yield f"| {_cell(row['label'])} | {row['support']} | {shares} |"


def _preprocessing(config: HubConfig, size: Size) -> str:
    info = config.info
    shape = f"{size[0]} x {size[1]}"
    part = f"The middle {100 * info.crop:.4g} % of "
    part += f"its shorter side, in the shape of {shape}," if info.keep_aspect else "each side"
    if info.crop == 1 and not info.keep_aspect:
        part = "The whole image"
    if info.preprocessing is None:
        scaling = "How pixels become the input is not known."
    else:
        mean, std = (_numbers(x) for x in (info.preprocessing.mean, info.preprocessing.std))
        scaling = f"Pixels, 0 to 255, become `(pixel - {mean}) / {std}`"
        within = config.arguments.get("include_preprocessing")
        scaling += ", which a layer of the model does." if within else "."
    return (
        f"## Preprocessing\n\n{part} is resized to {shape} ({info.interpolation}). {scaling} "
        "`Predictor` does all of it."
    )


def _numbers(numbers: Numbers) -> str:
    if isinstance(numbers, tuple):
        return f"[{', '.join(f'{x:.6g}' for x in numbers)}]"
    return f"{numbers:.6g}"


def _labels(labels: Sequence[Label] | None) -> str:
    if labels is None:
        return ""
    shown = ", ".join(_cell(words_of(label)) for label in labels[:_SHOWN])
    more = f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
    return f"## Labels\n\n{shown}{more}; `config.json` has them in the order of the outputs."


def _cell(name: str) -> str:
    """Return a name that is data: no mark-up, and no line or cell of its own."""
    return "".join(f"\\{c}" if c in _MARKS else c for c in plain_line(name))


def _licence(background: Background) -> str:
    if background.licence:
        about = f"The weights that it was trained from are under `{background.licence}`."
        return f"## Licence\n\n{about} Say here under which licence this model is."
    if background.base:
        return "## Licence\n\nThat of the weights that it was trained from is not known."
    return ""
