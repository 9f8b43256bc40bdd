"""What the bench measures, in which order, and what it says of it; never how fast anything is."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deploy_nets import BLOCKS
from hurried_bench import MOMENT, hurry
from random_models import randomise

from keras_mobilenet import MobileNet
from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder
from keras_mobilenet.deploy.bench import benchmarking, candidates, machine, plan
from keras_mobilenet.deploy.bench.bench_output import bench_table, latest_lines
from keras_mobilenet.deploy.bench.benchmarking import bench
from keras_mobilenet.deploy.bench.candidates import Candidate, Kept
from keras_mobilenet.deploy.bench.plan import KERAS, Plan
from keras_mobilenet.deploy.bench.timing import Timings
from keras_mobilenet.deploy.engines.choice import ENGINES, is_installed, precisions_of
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import MissingExtraError, PrecisionError
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.nets.costs.layers import layer_costs
from keras_mobilenet.nets.families.registry import FAMILIES

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
    hurry(monkeypatch)


SMALL = {"input_shape": (32, 32, 3), "alpha": 0.25, "weights": RANDOM, "blocks": BLOCKS}
LITERT = {"engines": ["keras", "litert"], "precisions": ["float32"], "batches": (1, 2)}


@pytest.fixture(scope="module", params=["one by one", "in turns"])
def shown(request, model):
    """All reports of one run, the last of them complete."""
    pace = {"seconds": MOMENT} if request.param == "one by one" else {"rounds": 3}
    reports = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        bench(model, Plan(**LITERT, **pace), show=reports.append)
    return reports


@pytest.fixture(scope="module")
def report(shown):
    return shown[-1]


def test_peak_is_that_of_the_faster_library(monkeypatch):
    times = {"NumPy": Timings((4.0, 2.0)), "TensorFlow": Timings((3.0,))}
    monkeypatch.setattr(machine, "interleaved", lambda *_, **__: times)
    assert machine.measured_peak(tensorflow=True, size=1000) == machine.Peak(1.0, "NumPy", 1000)


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
    found = bench(model, Plan(everything=True, batches=(2,), seconds=MOMENT))
    expected = {(KERAS, "float32"), ("tf.function", "float32")} | {
        (f"Predictor {engine}", precision)
        for engine in ENGINES
        for precision in precisions_of(engine)
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
        (name, batch)
        for batch in (1, 2)
        for name in (KERAS, "tf.function", "Predictor keras", "Predictor litert")
    ]
    times = {r.batch: len(r.timings.seconds) for r in report.results}
    if report.plan.rounds is None:
        assert min(times.values()) >= 2
    else:
        assert report.plan.rounds == 4  # made even
        assert times == {1: 4 * 2, 2: 4 * 1}


def test_each_result_is_shown_as_soon_as_it_is_there(shown):
    *coming, last = shown
    assert [len(report.results) for report in coming] == list(range(9))
    assert [report.complete for report in shown] == [False] * 9 + [True]
    assert all(report.results == last.results[:i] for i, report in enumerate(coming))


@pytest.mark.parametrize("layout", ["text", "markdown"])
def test_lines_that_are_shown_one_by_one_make_up_the_table(shown, layout):
    lines = "\n".join(latest_lines(report, layout) for report in shown)
    assert lines == bench_table(shown[-1], format=layout)


def test_rows_are_aligned_with_the_header_that_came_before_them(shown):
    lines = bench_table(shown[-1]).splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("Candidate"))
    rows = lines[header : header + 1 + 8 + 2]  # and a line above each batch
    assert len({len(row) for row in rows}) == 1


def test_a_candidate_is_compiled_when_its_turn_comes(model, hurried):
    events = []
    bench(
        model,
        Plan(**LITERT, seconds=MOMENT),
        progress=events.append,
        show=lambda report: events.append(len(report.results)),
    )
    assert events.index("compiling litert float32") > events.index(3)
    assert events.count("compiling litert float32") == 1


def test_candidates_are_made_once_and_kept():
    made = []
    kept = Kept(made.append(i) or i for i in range(3))
    assert next(iter(kept)) == 0
    assert made == [0]
    assert [*kept] == [*kept] == [0, 1, 2]
    assert made == [0, 1, 2]


def test_keras_at_another_speed_than_before_is_noted(model, hurried, monkeypatch):
    seconds = iter((1.0, 1.0, 1.5))  # Keras, tf.function, Keras once more
    monkeypatch.setattr(benchmarking, "timed_for", lambda *_, **__: Timings((next(seconds),)))
    monkeypatch.setattr(candidates, "Predictor", refuse)
    (note,) = [
        note
        for note in bench(model, Plan(batches=(2,))).notes
        if note.startswith(
            "At batch 2 Keras predict took 1.50 times as long at the end as at the start"
        )
    ]
    assert "Measure again" in note


def refuse(*_, **__):
    raise MissingExtraError("not here", "litert")


def test_work_is_twice_the_macs_of_the_net(report):
    assert report.flops == 2 * sum(cost.macs for cost in layer_costs(0.25, size=32, blocks=BLOCKS))


def test_ratios_and_shares_are_of_the_same_batch(report):
    result = report.results[-1]
    keras = report.results[4]
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
        model, Plan(engines=["keras"], batches=(3,), seconds=MOMENT), peers=[wrong, other]
    ).results[-2:]  # fmt: skip
    assert found[0].difference.max_error == pytest.approx(0.5)
    assert found[1].difference is None


def test_engines_alone_are_compared_with_numpy_and_the_first_of_them(model, hurried):
    plan = Plan(engines=["litert", "openvino"], batches=(2,), seconds=MOMENT)
    report = bench(Builder(arguments=SMALL), plan)
    assert report.reference == "NumPy"
    names = [(r.name, r.precision) for r in report.results]
    assert names[0] == ("Predictor litert", "float32")
    assert all(name.startswith("Predictor") for name, _ in names)
    assert report.ratio(report.results[0]) == 1.0
    errors = {r.precision: r.difference.relative_error for r in report.results}
    assert errors["float32"] < 1e-5  # float32 sums in another order
    table = bench_table(report)
    assert "x first" in table
    assert "as NumPy works them out" in table
    assert report.flops == 2 * sum(cost.macs for cost in layer_costs(0.25, size=32, blocks=BLOCKS))
    # Of a Keras model Keras is here anyway, and computes what they are compared with.
    assert bench(model, plan).reference == "Keras"


def test_engines_do_not_wait_for_keras_where_nobody_names_it(hurried, monkeypatch):
    seen, shown = [], []

    def in_keras(opened):
        seen.append([result.name for result in shown[-1].results])
        return replace(opened, model=opened)

    monkeypatch.setattr(plan, "ENGINES", ("litert",))
    monkeypatch.setattr(Opened, "in_keras", in_keras)
    own = Candidate(KERAS, "float32", lambda x: np.zeros((len(x), 1000)))
    monkeypatch.setattr(candidates, "_keras_own", lambda *_: iter([own]))
    asked = Plan(precisions=["float32"], batches=(1, 2), seconds=MOMENT)
    report = bench(Builder(arguments=SMALL), asked, show=shown.append)
    assert seen == [["Predictor litert"]]
    assert [r.name for r in report.results] == [*seen[0], KERAS] * 2
    assert report.reference == "NumPy"
    times = [1 / report.ratio(r) for r in report.results if r.name == KERAS]
    noted = f"{times[0]:.1f} times at batch 1, {times[1]:.1f} times at batch 2."
    assert f"The first is as fast as {KERAS} {noted}" in report.notes
    assert not any("Name keras" in note for note in report.notes)
    assert "x first" in bench_table(report)


@pytest.mark.parametrize("key", [family.key for family in FAMILIES])
def test_work_of_a_graph_is_that_of_its_net(key):
    graph = open_model(Builder(key, {"input_shape": (64, 96, 3), "weights": RANDOM})).graph
    expected = sum(cost.macs for cost in layer_costs(net=key, size=(64, 96)))
    assert sum(benchmarking._graph_macs(graph)) == expected


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
    assert told["compared_with"] == "Keras"
    assert told["float32_peak"]["gflops"] == report.peak.gflops
    for record, result in zip(told["results"], report.results, strict=True):
        assert tuple(record["seconds"]) == result.timings.seconds
        assert record["median_seconds"] == np.median(record["seconds"])
        assert record["difference"].keys() >= {"max_error", "top1_agreement"}


@pytest.mark.parametrize("layout", ["text", "markdown"])
def test_tables_have_a_row_a_result_and_the_notes(report, layout):
    table = bench_table(report, format=layout)
    assert table.count("Predictor litert") == 2
    assert "compared on generated images" in table
    assert str(report.machine) in table


def test_notes_say_what_numbers_are_not_worth(report, hurried):
    notes = tuple(note for note in report.notes if "Measure again" not in note)
    assert notes == ("Outputs were compared on generated images, not on photographs.",)
    untrained = MobileNet((32, 32, 3), 0.25, weights=None)
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    (note,) = bench(untrained, Plan(engines=["keras"], batches=(2,), rounds=2), images=pixels).notes
    assert "outputs are all nearly the same" in note


def test_engines_that_are_not_installed_are_left_out_with_the_reason(model, hurried, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(plan, "ENGINES", ("keras", "onnxruntime"))
    found = bench(model, Plan(precisions=["float32"], batches=(1,), rounds=2))
    assert "pip install 'keras-mobilenet[onnx]'" in found.skipped["Predictor onnxruntime float32"]
    assert "Predictor onnxruntime float32 is not in the table" in bench_table(found)
    with pytest.raises(MissingExtraError):
        bench(model, Plan(engines=["onnxruntime"], batches=(1,), rounds=2))


def test_a_precision_that_the_processor_lacks_is_refused_only_where_it_is_named(
    model, hurried, monkeypatch
):
    def made(*_, precision, **__):
        if precision == "bfloat16":
            raise PrecisionError("not on this processor")
        return Predictor(model, engine="litert")

    monkeypatch.setattr(candidates, "Predictor", made)
    found = bench(model, Plan(engines=["openvino"], batches=(1,), rounds=2))
    assert found.skipped == {"Predictor openvino bfloat16": "not on this processor"}
    with pytest.raises(PrecisionError):
        bench(model, Plan(precisions=["bfloat16"], batches=(1,), rounds=2))
