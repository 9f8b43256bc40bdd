"""What a bench is to measure, and how long it is said to take."""

import re

import pytest

from keras_mobilenet.deploy.bench import plan
from keras_mobilenet.deploy.bench.plan import RARELY_ASKED, Plan, chosen_pairs


def test_what_few_ask_for_comes_where_all_are_asked_for_or_it_is_named():
    assert not {*Plan().pairs} & {*RARELY_ASKED}
    assert {*Plan(everything=True).pairs} == {*Plan().pairs} | {*RARELY_ASKED}
    assert Plan(engines=["keras"]).pairs == (("keras", "float32"),)
    assert Plan(precisions=["bfloat16"]).pairs == (("openvino", "bfloat16"),)


@pytest.fixture
def all_installed(monkeypatch):
    monkeypatch.setattr(plan, "is_installed", lambda *_: True)


@pytest.mark.usefixtures("all_installed")
def test_default_run_is_said_to_take_under_a_minute():
    words = re.fullmatch(
        r"about (\d+) s: (\d+) s to start, then 4 candidates at (\d+) s, "
        r"(\d+) s to import Keras, 2 more",
        Plan().estimate(),
    )
    total, start, each, keras = map(int, words.groups())
    assert total == start + 4 * each + keras + 2 * each < 60


@pytest.mark.usefixtures("all_installed")
def test_keras_comes_first_where_it_is_named_or_all_take_turns():
    assert Plan().keras_last
    for first in ({"rounds": 2}, {"engines": ["keras", "litert"]}, {"everything": True}):
        assert not Plan(**first).keras_last
        assert "import Keras" not in Plan(**first).estimate()
    assert not Plan(engines=["litert"]).keras_last


@pytest.mark.usefixtures("all_installed")
@pytest.mark.parametrize(
    ("more", "work"),
    [
        ({"seconds": 9}, {}),
        ({"rounds": 100}, {}),
        ({"batches": (64, 256)}, {}),
        ({"everything": True}, {}),
        ({}, {"macs": 20_000_000_000}),
        ({}, {"images": 300}),
    ],
)
def test_estimate_grows_with_all_that_takes_time(more, work):
    def seconds(text):
        number, unit = re.match(r"about (\d+) (s|minutes):", text).groups()
        return int(number) * {"s": 1, "minutes": 60}[unit]

    assert seconds(Plan(**more).estimate(**work)) > seconds(Plan().estimate())


def test_engines_that_are_not_installed_take_no_time(monkeypatch):
    monkeypatch.setattr(plan, "is_installed", lambda engine, _: engine == "litert")
    assert " 2 candidates at " in Plan().estimate()


@pytest.mark.usefixtures("all_installed")
def test_engines_alone_take_no_time_for_keras_but_for_what_they_are_compared_with():
    engines = Plan(engines=["litert"], precisions=["float32"])
    assert not engines.keras
    assert engines.estimate().endswith(": 3 s to start, then 1 candidate at 5 s")
    assert engines.estimate(images=100).partition(": ")[2].startswith("12 s to start")
    assert Plan(engines=["litert", "keras"]).keras


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engines": ["torch"]}, "`engines` must be one or more of 'keras', .*'torch'"),
        ({"engines": []}, "`engines` must be .*Received: none"),
        ({"precisions": ["int4"]}, "`precisions` must be .*'int8'.*Received: 'int4'"),
        ({"engines": ["keras"], "precisions": ["int8"]}, "None of `engines`.*litert: float32"),
        ({"batches": (0,)}, "`batches` must be a positive integer.*Received: batches=0"),
        ({"batches": ()}, "`batches` holds no batch size"),
        ({"rounds": 0}, "`rounds` must be a positive integer"),
        ({"rounds": True}, "`rounds` must be a positive integer"),
        ({"seconds": 0}, "`seconds` must be a number above 0"),
        ({"seconds": float("nan")}, "`seconds` must be a number above 0.*nan"),
    ],
)
def test_wrong_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Plan(**arguments)


def test_pairs_leave_out_what_an_engine_cannot_do():
    assert chosen_pairs(["keras", "litert"], None) == [
        ("keras", "float32"), ("litert", "float32"), ("litert", "int8"),
    ]  # fmt: skip
    assert len(set(chosen_pairs(None, None))) == len(chosen_pairs(None, None))
    assert set(plan.PRECISIONS) == {p for _, p in chosen_pairs(None, None)}
