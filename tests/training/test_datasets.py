"""Training data as people have them: what is read, how it is split, what is told."""

import os
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mobilenet.errors import unicode_text
from keras_mobilenet.training.data.datasets import Dataset, read_dataset
from keras_mobilenet.training.data.splits import split


def image(path, content=None):
    """Nothing opens it: a name of an image and something in it will do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(path) if content is None else content)
    return str(path)


def folder(root, counts):
    for label, count in counts.items():
        for i in range(count):
            image(root / label / f"{i:02}.jpg")
    return root


def names(examples):
    return [(Path(path).name, index) for path, index in examples]


def told(match, *args, **options):
    with pytest.warns(UserWarning, match=match):
        return read_dataset(*args, **options)


def test_folder_of_class_folders_is_read(tmp_path):
    root = folder(tmp_path, {"b": 3, "a": 2})
    image(root / "a" / "deeper" / "still" / "x.PNG")
    image(root / "a" / ".hidden.jpg")
    image(root / "a" / ".cache" / "y.jpg")
    image(root / ".git" / "z.jpg")
    data = read_dataset(root, validation=None)
    assert data == Dataset(("a", "b"), data.train, (), ())
    a, b = [("00.jpg", 0), ("01.jpg", 0), ("x.PNG", 0)], [(f"0{i}.jpg", 1) for i in range(3)]
    assert names(data.train) == a + b


def test_csv_file_is_read_from_its_own_folder(tmp_path, monkeypatch):
    root = folder(tmp_path / "images", {"a": 2, "b": 2})
    table = tmp_path / "table.csv"
    lines = [f"{i},images/{c}/0{i}.jpg, rose {c} " for c in "ab" for i in range(2)]
    table.write_text("\ufeff" + "\r\n".join(["id, path,label", *lines, ""]), encoding="utf-8")
    monkeypatch.chdir(root)
    data = read_dataset(table, validation=None)
    assert data.labels == ("rose a", "rose b")
    assert names(data.train) == [("00.jpg", 0), ("01.jpg", 0), ("00.jpg", 1), ("01.jpg", 1)]


def test_pairs_are_read_whatever_the_suffix(tmp_path):
    pairs = [(Path(image(tmp_path / f"{label}{i}")), label) for label in "ba" for i in range(2)]
    data = read_dataset(pairs, validation=None)
    assert names(data.train) == [("a0", 0), ("a1", 0), ("b0", 1), ("b1", 1)]


def test_image_listed_twice_counts_once(tmp_path):
    pairs = [(image(tmp_path / f"{label}{i}.jpg"), label) for label in "ab" for i in range(2)]
    assert read_dataset(pairs + pairs[:3]) == read_dataset(pairs)


def test_three_kinds_of_data_are_one(tmp_path):
    root = folder(tmp_path / "root", {"a": 9, "b": 7})
    pairs = [(path, path.parent.name) for path in sorted(root.rglob("*.jpg"), reverse=True)]
    table = tmp_path / "root.csv"
    table.write_text("label,path\n" + "".join(f"{label},{path}\n" for path, label in pairs))
    assert read_dataset(root) == read_dataset(pairs) == read_dataset(table)


def test_split_keeps_the_share_of_each_class(tmp_path):
    data = read_dataset(folder(tmp_path, {"a": 20, "b": 10, "c": 2, "d": 5}), validation=0.3)
    assert Counter(index for _, index in data.validation) == {0: 6, 1: 3, 2: 1, 3: 2}
    assert Counter(index for _, index in data.train) == {0: 14, 1: 7, 2: 1, 3: 3}
    assert set(data.train).isdisjoint(data.validation)


def test_seed_fixes_the_split(tmp_path):
    root = folder(tmp_path, {"a": 30, "b": 30})
    assert read_dataset(root) == read_dataset(root, seed=0)
    assert read_dataset(root).validation != read_dataset(root, seed=1).validation


def test_another_class_leaves_the_split_of_the_others(tmp_path):
    root = folder(tmp_path, {"a": 30, "b": 30})
    before = read_dataset(root).validation
    image(root / "c" / "0.jpg")
    image(root / "c" / "1.jpg")
    assert set(before) < set(read_dataset(root).validation)


groups = st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abc")), min_size=1, max_size=30)


@given(groups, st.floats(0.01, 0.99), st.integers(0, 9))
def test_groups_stay_whole_and_each_class_trains(sizes, share, seed):
    made = [[(f"{i}-{j}", label) for j in range(size)] for i, (size, label) in enumerate(sizes)]
    train, held = split(made, share, seed)
    assert sorted(train + held) == sorted(pair for group in made for pair in group)
    assert all(set(group) <= set(train) or set(group) <= set(held) for group in made)
    assert {label for _, label in train} == {label for _, label in sizes}


def test_equal_images_are_on_one_side(tmp_path):
    root = folder(tmp_path, {"a": 6, "b": 6})
    for i in range(6):
        image(root / "a" / f"copy{i}.jpg", (root / "a" / f"0{i}.jpg").read_bytes())
    data = read_dataset(root, validation=0.5)
    held = {Path(path).read_bytes() for path, _ in data.validation}
    assert len(held) == 6
    assert held.isdisjoint(Path(path).read_bytes() for path, _ in data.train)


def test_images_of_one_content_in_two_classes_are_told_and_never_validated_with(tmp_path):
    root = folder(tmp_path, {"a": 4, "b": 4})
    twin = image(root / "b" / "twin.jpg", (root / "a" / "02.jpg").read_bytes())
    for seed in range(5):
        data = told("one image in several classes", root, validation=0.5, seed=seed)
        assert twin not in dict(data.validation)
    assert data.problems == (f"{root}/a/02.jpg = {twin} (a, b): is one image in several classes",)


def test_a_label_that_lists_several_classes_is_told(tmp_path):
    folder(tmp_path, {"roses": 1, "third": 1, "x": 4})
    labels = ["roses|third", "third ; roses", "third, a rose"]
    rows = [f"{c}/00.jpg,{c}" for c in ("roses", "third")]
    rows += [f'x/0{i}.jpg,"{label}"' for i, label in enumerate(labels)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["path,label", *rows, ""]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with one image, too
        problems = read_dataset(table, validation=None).problems
    assert [x for x in problems if "multi_label=True" in x] == [
        f"{label}: looks like several classes of an image, and is taken for a class of its own; "
        "images of several classes are trained with as arrays and multi_label=True"
        for label in labels[:2]
    ]


def test_a_path_that_was_written_down_is_found_though_it_is_no_utf8(tmp_path):
    path = image(tmp_path / os.fsdecode(b"n\xff.jpg"))
    table = tmp_path / "t.csv"
    lines = ["path,label", f"{unicode_text(path)},a", f"{image(tmp_path / 'b.jpg')},b"]
    table.write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(UserWarning, match="one image, which is trained with"):
        assert (path, 0) in read_dataset(table, validation=None).train


def test_images_to_validate_with_can_be_given(tmp_path):
    root = folder(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    other = folder(tmp_path / "val", {"c": 2, "a": 2})
    data = read_dataset(root, validation=other)
    assert Counter(index for _, index in data.validation) == {0: 2, 2: 2}
    assert len(data.train) == 6
    pairs = [(path, data.labels[index]) for path, index in data.validation]
    assert read_dataset(root, validation=pairs) == data


def test_image_on_both_given_sides_is_told(tmp_path):
    root, other = folder(tmp_path / "train", {"a": 2, "b": 2}), tmp_path / "val"
    twin = image(other / "a" / "twin.jpg", (root / "a" / "01.jpg").read_bytes())
    data = told("to train and to validate with \\(1\\): .*01.jpg = ", root, validation=other)
    first = f"{root}/a/01.jpg = {twin}: is one image to train and to validate with"
    assert data.problems[0] == first
    assert len(data.validation) == 1


def test_files_left_out_are_told(tmp_path):
    root = folder(tmp_path, {"a": 2, "b": 2})
    for i in range(5):
        image(root / "a" / f"notes{i}.txt")
    image(root / "a" / "empty.jpg", b"")
    image(root / "loose.jpg")
    (root / "c").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = read_dataset(root, validation=None)
    assert data.labels == ("a", "b")
    assert len(data.train) == 4
    assert sorted(str(warning.message) for warning in caught) == [
        f"is a class without images (1): {root}/c",
        f"is empty (0 bytes) (1): {root}/a/empty.jpg",
        f"is no image, by its name (5): {root}/a/notes0.txt, {root}/a/notes1.txt, "
        f"{root}/a/notes2.txt ... and 2 more",
        f"is not in a class folder (1): {root}/loose.jpg",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    assert len(data.problems) == 8


def test_folder_that_cannot_be_read_is_no_class_without_images(tmp_path, closed):
    root = folder(tmp_path, {"a": 2, "b": 2, "closed": 2})
    data = told("is a folder that cannot be read", root, validation=None)
    assert data.labels == ("a", "b")
    assert data.problems == (f"{root}/closed: is a folder that cannot be read",)


def test_link_to_itself_is_told_and_the_rest_is_read(tmp_path):
    root = folder(tmp_path, {"a": 2, "b": 2})
    (root / "a" / "self.jpg").symlink_to("self.jpg")
    data = told("cannot be read: Too many levels", root, validation=None)
    assert len(data.train) == 4


def test_class_whose_name_is_no_utf_8_is_refused(tmp_path):
    root = folder(tmp_path, {"a": 2, os.fsdecode(b"m\xff"): 2})
    with pytest.raises(ValueError, match=r"no UTF-8: m\\udcff. Rename"):
        read_dataset(root)
    with pytest.raises(ValueError, match="no UTF-8"):
        read_dataset(
            [(path, "a" if i else "\ud800") for i, path in enumerate(sorted(root.glob("*/*")))]
        )


def test_missing_files_are_told(tmp_path):
    good = [(image(tmp_path / f"{label}{i}.jpg"), label) for label in "ab" for i in range(2)]
    data = told("is missing \\(1\\): gone.jpg", [*good, ("gone.jpg", "a")], validation=None)
    assert data.problems == ("gone.jpg: is missing",)


def test_class_of_one_image_is_told_and_trains(tmp_path):
    data = told("with one image", folder(tmp_path, {"a": 1, "b": 2}), validation=0.9)
    assert data.problems == ("a: is a class with one image, which is trained with",)
    assert names(data.train)[0] == ("00.jpg", 0)


def test_one_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least two classes.* one, 'a'"):
        read_dataset(folder(tmp_path, {"a": 4}))


def test_unknown_classes_to_validate_with_are_refused(tmp_path):
    root, other = folder(tmp_path / "t", {"a": 2, "b": 2}), folder(tmp_path / "v", {"a": 1, "x": 1})
    with pytest.raises(ValueError, match="does not have: x. Those of `data` are a, b"):
        read_dataset(root, validation=other)


def test_folder_of_splits_is_refused(tmp_path):
    root = folder(tmp_path, {"train": 2, "val": 2})
    with pytest.raises(ValueError, match="no classes: train, val. Pass the folder that"):
        read_dataset(root)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, True, float("nan"), float("inf")])
def test_wrong_share_is_refused(tmp_path, share):
    with pytest.raises(ValueError, match="`validation` must be a share above 0 and below 1"):
        read_dataset(folder(tmp_path, {"a": 2, "b": 2}), validation=share)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("nowhere", "`data` must be a folder .* There is nothing at 'nowhere'"),
        ([], "`data` has no image in it: 0 pairs"),
        ([("x.jpg", "a"), ("y.jpg", "b")], "no image in it: 2 pairs\n  x.jpg: is missing\n  y"),
        ([("x.jpg", 1)], "pairs of a path and a label, both as text. Received: \\('x.jpg', 1\\)"),
        (["x.jpg"], "Received: 'x.jpg'"),
        (7, "Received: int"),
    ],
)
def test_what_is_no_data_is_refused(data, match):
    with pytest.raises(ValueError, match=match):
        read_dataset(data)


def test_folder_without_folders_is_refused(tmp_path):
    image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="has no folders in it"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "must begin with a line that names the columns path and label. Found: nothing"),
        (b"file,class\nx,a\n", "Found: file, class"),
        (b"path,label\nx.jpg\n", "line 2, has no path or no label"),
        (b"path,label\n,a\n", "line 2, has no path or no label"),
        (b"path,label\n\xff,a\n", "cannot be read as CSV.*in UTF-8"),
    ],
)
def test_damaged_csv_file_is_refused(tmp_path, content, match):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_dataset(tmp_path / "t.csv")


def test_flowers_are_read(shared_data):
    flowers = shared_data / "images" / "flowers"
    # A fault of the published data set, not of ours.
    twins = "one image in several classes \\(1\\): .*/roses/15922772266.* = .*/tulips/15922772266"
    data = told(twins, flowers / "train", validation=flowers / "val")
    assert data.labels == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert len(data.problems) == 1
    assert set(Counter(index for _, index in data.train)) == set(range(5))
