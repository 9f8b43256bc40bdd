"""What the bench measures, in which order, and what it says of it; never how fast anything is."""

import functools
import gc
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from deploy_nets import BLOCKS
from PIL import Image
from random_models import randomise
from typer.testing import CliRunner

from keras_mobilenet import MobileNet
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.deploy import _weights_are_here, batch_sizes
from keras_mobilenet.commands.options import Builder
from keras_mobilenet.deploy.bench import benchmarking, candidates, machine, timing
from keras_mobilenet.deploy.bench.bench_output import bench_table
from keras_mobilenet.deploy.bench.benchmarking import bench
from keras_mobilenet.deploy.bench.candidates import KERAS, Candidate, chosen_pairs
from keras_mobilenet.deploy.bench.timing import Timings, interleaved, turns
from keras_mobilenet.deploy.engines.choice import ENGINES, engine_module, is_installed
from keras_mobilenet.errors import MissingExtraError
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.nets.costs.layers import layer_costs

# Keras' own, at its first export to ONNX.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]


@pytest.fixture(scope="module")
def model():
    return randomise(MobileNet((32, 32, 3), 0.25, weights=None, blocks=BLOCKS))


@pytest.fixture
def hurried(monkeypatch):
    """Small products for the machine's peak, and few calls: nothing here is about speed."""
    hurry(monkeypatch)


def hurry(monkeypatch):
    peak = functools.partial(machine.measured_peak, size=64, rounds=2)
    monkeypatch.setattr(benchmarking, "measured_peak", peak)
    monkeypatch.setattr(benchmarking, "_WARM_UP", 1)
    monkeypatch.setattr(benchmarking, "_CALLS", 2)
    monkeypatch.setattr(benchmarking, "_GENERATED", 3)


@pytest.fixture(scope="module")
def report(model):
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        return bench(model, engines=["litert"], precisions=["float32"], batches=(1, 2), rounds=3)


def test_statistics_of_a_known_series():
    timings = Timings(tuple(range(100, -1, -1)))
    assert (timings.median, timings.p95, timings.best) == (50, 95, 0)


@pytest.mark.parametrize("count", [2, 3, 20, 33])
def test_percentile_is_that_of_numpy(count):
    times = tuple(np.random.default_rng(count).random(count))
    assert Timings(times).p95 == pytest.approx(np.percentile(times, 95))


def test_one_call_is_its_own_statistics():
    assert (Timings((2.0,)).median, Timings((2.0,)).p95) == (2.0, 2.0)


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcdefg"])
@pytest.mark.parametrize("pairs", [1, 2, 7, 10])
def test_each_goes_first_as_often_as_last(names, pairs):
    rounds = list(turns(names, 2 * pairs))
    assert Counter(r[0] for r in rounds) == Counter(r[-1] for r in rounds)
    assert all(sorted(r) == sorted(names) for r in rounds)


def test_each_goes_first_in_turn():
    firsts = Counter(order[0] for order in turns("abcde", 10))
    assert set(firsts.values()) == {2}


def test_calls_come_in_the_order_of_the_turns():
    calls = []
    actions = {name: functools.partial(calls.append, name) for name in "ab"}
    times = interleaved(actions, 2, warm_up=2, settle=1, calls=3)
    assert "".join(calls) == "aabb" + "aaaa" + "bbbb" + "bbbb" + "aaaa"
    assert {name: len(found.seconds) for name, found in times.items()} == {"a": 6, "b": 6}


def test_only_the_call_is_timed(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    times = interleaved({"a": lambda: None}, 3, warm_up=5, settle=5, calls=2)
    assert times["a"].seconds == (1,) * 6


@pytest.mark.parametrize("frozen", [False, True])
def test_no_garbage_is_collected_while_timing_and_all_is_as_before_after_it(frozen):
    def check():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        raise KeyError

    gc.unfreeze()
    if frozen:
        gc.freeze()
    with pytest.raises(KeyError):
        interleaved({"a": check}, 1)
    assert gc.isenabled()
    assert (gc.get_freeze_count() > 0) == frozen
    gc.freeze()  # as `lasting_objects` leaves it


def test_progress_counts_the_rounds():
    told = []
    interleaved({"a": int}, 2, progress=lambda *rounds: told.append(rounds))
    assert told == [(1, 2), (2, 2)]


def test_peak_is_that_of_the_faster_library(monkeypatch):
    times = {"NumPy": Timings((4.0, 2.0)), "TensorFlow": Timings((3.0,))}
    monkeypatch.setattr(machine, "interleaved", lambda *_, **__: times)
    assert machine.measured_peak(size=1000) == machine.Peak(1.0, "NumPy", 1000)


def test_machine_names_the_versions_of_what_is_installed():
    found = machine.this_machine("numpy", "not-a-package")
    assert found.versions == {"numpy": np.__version__}
    assert found.cores == all_cores()
    assert str(found).endswith(f"numpy {np.__version__}")


def test_machine_without_linux_files_is_described_all_the_same(monkeypatch):
    def refuse(_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert machine.this_machine().instructions == ()


def test_every_installed_engine_and_precision_appears(model, hurried):
    found = bench(model, batches=(2,), rounds=2)
    expected = {(KERAS, "float32"), ("tf.function", "float32")} | {
        (f"Predictor {engine}", precision)
        for engine in ENGINES
        for precision in engine_module(engine).PRECISIONS
        if is_installed(engine, precision)
    }
    lacking = "Predictor openvino bfloat16"
    if lacking in found.skipped:  # by the processor
        assert "on this processor" in found.skipped[lacking]
        expected.remove(("Predictor openvino", "bfloat16"))
    assert {(r.name, r.precision) for r in found.results} == expected
    assert len(found.results) == len(expected)


def test_report_holds_each_batch_and_each_time(report):
    assert [(r.name, r.batch) for r in report.results] == [
        (name, batch) for batch in (1, 2) for name in (KERAS, "tf.function", "Predictor litert")
    ]
    assert report.rounds == 4  # made even
    assert {r.batch: len(r.timings.seconds) for r in report.results} == {1: 4 * 2, 2: 4 * 1}


def test_work_is_twice_the_macs_of_the_net(report):
    assert report.flops == 2 * sum(cost.macs for cost in layer_costs(0.25, size=32, blocks=BLOCKS))


def test_ratios_and_shares_are_of_the_same_batch(report):
    result = report.results[-1]
    keras = report.results[3]
    assert (keras.name, keras.batch) == (KERAS, 2)
    ratio = keras.timings.median / result.timings.median
    assert report.ratio(result) == pytest.approx(ratio)  # rounded in another order
    share = 2 / result.timings.median * report.flops / (report.peak.gflops * 1e9)
    assert report.peak_share(result) == pytest.approx(share)


def test_outputs_are_compared_with_those_of_keras(report, model, hurried):
    # float32 sums in another order; the largest output is at most 1
    assert all(result.difference.max_error < 1e-5 for result in report.results)
    wrong = Candidate("wrong", "float32", lambda x: model.predict(x, verbose=0) + 0.5)
    other = Candidate("another net", "float32", lambda x: x, same_net=False)
    found = bench(
        model, engines=["keras"], batches=(3,), rounds=2, peers=[wrong, other]
    ).results[-2:]  # fmt: skip
    assert found[0].difference.max_error == pytest.approx(0.5)
    assert found[1].difference is None


def test_outputs_are_computed_in_batches_of_the_very_size():
    seen = []
    candidate = Candidate("x", "float32", lambda x: seen.append(len(x)) or x)
    inputs = np.arange(10.0).reshape(5, 2)
    assert (benchmarking._outputs(candidate, inputs, 4) == inputs).all()
    assert seen == [4, 4]


def test_json_holds_machine_versions_threads_and_every_time(report):
    told = json.loads(bench_table(report, format="json"))
    assert told["machine"]["versions"].keys() >= {"keras-mobilenet", "keras", "tensorflow"}
    assert told["threads"] == all_cores()
    assert told["float32_peak"]["gflops"] == report.peak.gflops
    for record, result in zip(told["results"], report.results, strict=True):
        assert tuple(record["seconds"]) == result.timings.seconds
        assert record["median_seconds"] == np.median(record["seconds"])
        assert record["difference_from_keras"].keys() >= {"max_error", "top1_agreement"}


@pytest.mark.parametrize("layout", ["text", "markdown"])
def test_tables_have_a_row_a_result_and_the_notes(report, layout):
    table = bench_table(report, format=layout)
    assert table.count("Predictor litert") == 2
    assert "compared on generated images" in table
    assert str(report.machine) in table


def test_notes_say_what_numbers_are_not_worth(report, hurried):
    assert report.notes == ("Outputs were compared on generated images, not on photographs.",)
    untrained = MobileNet((32, 32, 3), 0.25, weights=None)
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    (note,) = bench(untrained, engines=["keras"], batches=(2,), rounds=2, images=pixels).notes
    assert "outputs are all nearly the same" in note


def test_engines_that_are_not_installed_are_left_out_with_the_reason(model, hurried, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(candidates, "ENGINES", ("keras", "onnxruntime"))
    found = bench(model, precisions=["float32"], batches=(1,), rounds=2)
    assert "pip install 'keras-mobilenet[onnx]'" in found.skipped["Predictor onnxruntime float32"]
    assert "Predictor onnxruntime float32 is not in the table" in bench_table(found)
    with pytest.raises(MissingExtraError):
        bench(model, engines=["onnxruntime"], batches=(1,), rounds=2)


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
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        bench(model, **arguments)


def test_pairs_leave_out_what_an_engine_cannot_do():
    assert chosen_pairs(["keras", "litert"], None) == [
        ("keras", "float32"), ("litert", "float32"), ("litert", "int8"),
    ]  # fmt: skip
    assert len(set(chosen_pairs(None, None))) == len(chosen_pairs(None, None))
    assert set(candidates.PRECISIONS) == {p for _, p in chosen_pairs(None, None)}


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


SMALL = ("--model", "none", "--alpha", 0.25, "--size", 32, "--rounds", 2, "--batch", "1,3")


def test_command_prints_a_table_and_writes_json_and_a_chart(tmp_path, hurried):
    image, record = tmp_path / "bench.svg", tmp_path / "bench.json"
    result = run(*SMALL, "--engines", "litert", "--precisions", "int8", "--json", record,
                 "--chart", image)  # fmt: skip
    assert result.exit_code == 0, result.exception
    assert result.stdout.startswith("MobileNet, alpha 0.25, 32 x 32, random weights")
    told = json.loads(record.read_text())
    assert {row["batch"] for row in told["results"]} == {1, 3}
    assert {row["precision"] for row in told["results"]} == {"float32", "int8"}
    assert any("int8 ranges were taken from generated images" in note for note in told["notes"])
    assert "Predictor litert int8" in image.read_text()
    assert result.stderr.splitlines() == [f"wrote {record}", f"wrote {image}"]


def test_command_takes_images_and_a_keras_file(tmp_path, model, hurried):
    from keras_mobilenet.models.model_files import save_model

    file = tmp_path / "net.keras"
    save_model(model, file)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    result = run(
        "--model", file, "--engines", "litert", "--precisions", "int8", "--batch", 2,
        "--rounds", 2, "--images", tmp_path, "--calibration", tmp_path, "--format", "json",
    )  # fmt: skip
    told = json.loads(result.stdout)
    assert told["model"] == str(file)
    assert told["images_compared"] == 1
    assert not any("generated" in note for note in told["notes"])
    assert any("shares are of the float32 peak" in note for note in told["notes"])


@pytest.mark.parametrize("text", ["", "0", "1,", "1;8", "-1", "1.5", "two", "²"])
def test_command_refuses_batches_that_are_no_numbers(text):
    with pytest.raises(ValueError, match=r"--batch takes positive integers.*Received: "):
        batch_sizes(text)
    assert run("--batch", text).exit_code != 0


def test_command_takes_batches_once_each():
    assert batch_sizes("8, 1,8") == (8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engines", "torch"), "'torch'"),
        (("--precisions", "float16"), "'float16'"),
        (("--model", "resnet"), "--model takes 'imagenet', 'none' or a .keras file"),
    ],
)
def test_command_names_what_it_does_not_know(arguments, message):
    result = run(*SMALL, *arguments)
    assert message in str(result.exception)


def test_weights_are_random_and_said_to_be_where_there_are_none(hurried, cache):
    result = run("--alpha", 0.25, "--size", 32, *SMALL[6:], "--engines", "keras")
    assert "random weights" in result.stdout
    assert "the ImageNet weights are not here" in result.stderr
    assert not _weights_are_here(
        Builder("mobilenet", 0.25), (128, 128)
    )  # published, and not in the empty cache
