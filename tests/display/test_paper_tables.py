"""The paper's tables: every printed number is met, or its difference is explained."""

import json
import re

import pytest
from typer.testing import CliRunner

from keras_mobilenet.commands.app import app
from keras_mobilenet.display.paper_tables import (
    ENTRIES,
    PAPERS,
    REST,
    TITLES,
    _explained,
    paper_table,
    written,
)


def notes(number):
    return " ".join(paper_table(number).notes)


@pytest.mark.parametrize("net", PAPERS)
def test_every_difference_is_explained(net):
    tables = [paper_table(number, net) for number in PAPERS[net].titles]
    assert "not explained" not in written(tables, net=net)


def test_slims_macs_of_v2_are_cut_off_and_never_another_number():
    table = paper_table(0, "mobilenet_v2")
    assert len(table.rows) == 22
    for row in table.rows:
        assert int(float(row["derived MACs, M"])) == int(row["printed MACs, M"])
        assert row["derived params, M"] == row["printed params, M"]
    assert all("cut off, not rounded" in note for note in table.notes)


@pytest.mark.parametrize(
    ("net", "number", "slip"),
    [
        ("mobilenet_v2", 4, "(1.4): MACs: 582.196 M, the paper prints 585: a slip"),
        ("mobilenet_v2", 4, "the paper prints 6.9: a slip"),
        ("mobilenet_v3_small", 0, "MACs: 56.510 M, the page prints 66: from an early version"),
        ("mobilenet_v3_large", 3, "MACs: 216.590 M, the paper prints 219: a slip"),
    ],
)
def test_known_slips_of_later_papers_are_named(net, number, slip):
    assert slip in " ".join(paper_table(number, net).notes)


@pytest.mark.parametrize(
    ("number", "slip"),
    [
        (1, "conv_dw_13: the paper prints stride 2, but 7 x 7 x 1024 goes in"),
        (2, "the same digits in another order"),
        (4, "prints 4866: without the classifier's 1.024 M"),
        (7, "prints 290: cut off, not rounded"),
        (9, "prints 76: cut off, not rounded"),
    ],
)
def test_known_slips_are_named(number, slip):
    assert slip in notes(number)


@pytest.mark.parametrize("number", [3, 5, 6, 8])
def test_other_tables_agree_digit_for_digit(number):
    assert paper_table(number).notes == ()


def test_what_cannot_be_explained_is_said():
    assert _explained("x", "12", 15_000_000, 14_000_000) == [
        "x: 15.000 M, the paper prints 12: not explained."
    ]


def test_table_1_has_a_row_for_each_layer_of_the_paper_from_input_to_classes():
    *rows, pooling, last, softmax = paper_table(1).rows
    assert (pooling["filter"], pooling["input"]) == ("pool 7 x 7", "7 x 7 x 1024")
    assert (softmax["filter"], softmax["input"]) == ("classifier", "1 x 1 x 1000")
    rows.append(last)
    assert len(rows) == 28  # the paper's "28 layers"
    assert rows[0]["input"] == "224 x 224 x 3"
    assert rows[3]["input"] == "112 x 112 x 64"  # of the block, not of its padding
    assert rows[-1]["input"] == "1 x 1 x 1024"
    assert [r["layer"] for r in rows if r["stride"] != r["paper: stride"]] == ["conv_dw_13"]


def test_one_net_has_one_set_of_printed_numbers():
    """The paper repeats its rows; so does this file, and the repetitions agree."""
    printed = {}
    for entry in (entry for entries in ENTRIES.values() for entry in entries if not entry.part):
        key = repr(sorted(entry.net.items())) if entry.net is not None else entry.label
        numbers = (entry.macs, entry.params, entry.top_1)
        assert printed.setdefault(key, numbers) == numbers


@pytest.mark.parametrize("number", range(3, 10))
def test_figures_are_those_of_the_reference_page(shared_data, number):
    """The page has accuracy / MACs / parameters as printed, then its own arithmetic."""
    page = (shared_data.parent / "reference" / "paper.md").read_text()
    (line,) = re.findall(
        rf"(?:\* \*\*|\* |\. )T{number}(?:\*\*|:)? (.*?)(?:Arithmetic|\. T|\n)", page
    )
    triples = re.findall(r"(?:(\d[\d.]*) ?/ ?)?(\d*[\d.]+) ?/ ?(\d*\.?\d+)", line)
    first = 1 if number == 8 else 0  # the page does not repeat MobileNet's own row there
    for entry, figures in zip(ENTRIES[number][first:], triples, strict=True):
        found = [float(figure or 0) for figure in figures]
        assert found == [float(x or 0) for x in (entry.top_1, entry.macs, entry.params)]


def test_figures_that_are_not_derived_are_those_of_the_reference_page(shared_data):
    page = (shared_data.parent / "reference" / "paper.md").read_text()
    (line,) = re.findall(r"T10 Dogs: (.*?)\. T12", page)
    assert set(re.findall(r"\d+(?:\.\d)?", line.replace("V3", ""))) <= set(
        re.findall(r"[\d.]+", REST)
    )


def test_command_prints_another_nets_tables():
    result = CliRunner().invoke(app, ["paper", "--net", "mobilenet_v2"])
    assert "Table 4. Performance on ImageNet" in result.stdout
    assert "19 bottlenecks; its table 2 has 17" in result.stdout


@pytest.mark.parametrize("number", [0, 10, 15])
def test_other_tables_are_refused_with_those_there(number):
    with pytest.raises(ValueError, match="one of 1, 2, 3, 4, 5, 6, 7, 8, 9.*Received: number="):
        paper_table(number)


def test_unknown_format_is_named():
    with pytest.raises(ValueError, match="Received: format='html'"):
        written([paper_table(3)], format="html")


def test_command_prints_all_tables_or_one():
    result = CliRunner().invoke(app, ["paper"])
    assert all(f"Table {number}. {title}" in result.stdout for number, title in TITLES.items())
    assert "7.5 M parameters there and 75 M in the text" in result.stdout
    result = CliRunner().invoke(app, ["paper", "--table", "3", "--format", "json"])
    (table,) = json.loads(result.stdout)
    assert table["rows"][1]["derived MACs, M"] == "52.28"
    assert "## Table 3." in CliRunner().invoke(app, ["paper", "--format", "markdown"]).stdout


def test_command_draws_the_figure(tmp_path):
    pytest.importorskip("matplotlib")
    image = tmp_path / "accuracy.svg"
    result = CliRunner().invoke(app, ["paper", "--table", "6", "--figure", str(image)])
    assert "wrote" in result.stderr
    assert "<svg" in image.read_text()
