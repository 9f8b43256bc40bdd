"""ImageNet's validation images take their classes from each of the files that people have."""

import pytest

from keras_mobilenet.evaluation.labelled.truth import list_labelled, truth_of
from keras_mobilenet.images.labels import imagenet_classes, synsets_by_number

# The first ten validation images: as TensorFlow's models have them (research/slim/datasets/
# imagenet_2012_validation_synset_labels.txt), and as the development kit's own file begins.
SYNSETS = (
    "n01751748", "n09193705", "n02105855", "n04263257", "n03125729",
    "n01735189", "n02346627", "n02776631", "n03794056", "n02328150",
)  # fmt: skip
KIT = (490, 361, 171, 822, 297, 482, 13, 704, 599, 164)
CLASSES = (65, 970, 230, 809, 516, 57, 334, 415, 674, 332)  # as Caffe's val.txt has them
KAGGLE = (  # in no order, with the boxes of each image
    "ImageId,PredictionString",
    *(
        f"ILSVRC2012_val_{i + 1:08},{SYNSETS[i]} 1 2 3 4 {SYNSETS[i]} 5 6 7 8"
        for i in range(9, -1, -1)
    ),
)
FILE = "ILSVRC2012_validation_ground_truth.txt"


def image(i):
    return f"ILSVRC2012_val_{i + 1:08}.JPEG"


def folder_of(place, numbers):
    folder = place / "val"
    folder.mkdir()
    for i in numbers:
        (folder / image(i)).write_bytes(b"an image, which nobody opens here")
    (folder / "notes.txt").write_text("no image by its name")
    return folder


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path, range(10))


def classes(folder, name, lines):
    """The classes of a folder's images by a file of some lines."""
    file = folder.parent / name
    file.write_text("".join(f"{line}\n" for line in lines))
    listing = list_labelled(folder, str(file))
    assert listing.problems == ()
    examples = truth_of(listing, 1000, None).examples
    assert [path.rpartition("/")[2] for path, _ in examples] == [
        path.name for path in sorted(folder.glob("*.JPEG"))
    ]
    return tuple(i for _, i in examples)


def test_kit_numbers_each_synset_once():
    assert sorted(synsets_by_number()) == list(range(1, 1001))
    assert sorted(synsets_by_number().values()) == [synset for synset, _ in imagenet_classes()]
    assert tuple(synsets_by_number()[n] for n in KIT) == SYNSETS


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (FILE, KIT),
        ("ILSVRC2015_clsloc_validation_ground_truth.txt", KIT),
        ("imagenet_2012_validation_synset_labels.txt", SYNSETS),
        (FILE, SYNSETS),
        ("numbers.txt", CLASSES),
        ("val.txt", [f"{image(i)} {n}" for i, n in enumerate(CLASSES)]),
        (FILE, [f"{image(i)} {n}" for i, n in enumerate(CLASSES)]),  # not the kit's, by its form
        ("LOC_val_solution.csv", KAGGLE),
    ],
)
def test_each_file_gives_the_same_classes(folder, name, lines):
    assert classes(folder, name, lines) == CLASSES


@pytest.mark.parametrize(("name", "lines"), [(FILE, KIT), ("synsets.txt", SYNSETS)])
def test_part_of_the_images_has_its_lines(tmp_path, name, lines):
    assert classes(folder_of(tmp_path, (2, 7)), name, lines) == (CLASSES[2], CLASSES[7])


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (FILE, (*CLASSES[:9], 0), "and not its numbers, 1 to 1000. Give it another name"),
        ("truth.txt", (*KIT[:9], 1000), f"Give it that name, {FILE}"),
        ("truth.txt", CLASSES[:9], "must have a line for each image. Received: 9 lines, and 10"),
        ("truth.txt", [f"{image(0)} 65", "970"], "a line without a name or a class: '970'"),
        ("truth.txt", [], "has no line in it"),
    ],
)
def test_other_files_are_refused_with_a_remedy(folder, name, lines, message):
    with pytest.raises(ValueError, match=message):
        classes(folder, name, lines)


def test_a_file_in_another_encoding_is_named(folder, tmp_path):
    (tmp_path / "truth.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"truth.txt cannot be read as text.*Save it in UTF-8"):
        list_labelled(folder, str(tmp_path / "truth.txt"))
    (tmp_path / "list.csv").write_bytes("path,label\ncaf\xe9.jpg,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list.csv cannot be read as CSV.*in UTF-8, with commas"):
        list_labelled(tmp_path / "list.csv")


def test_a_file_of_classes_needs_a_folder_of_images(folder):
    with pytest.raises(ValueError, match="Pass the folder as `data`"):
        list_labelled([("a.jpg", "1")], "truth.txt")
