"""Which of a model's outputs an image's class is, and what has none."""

import pytest

from keras_mobilenet.evaluation.labelled.image_lists import Listing
from keras_mobilenet.evaluation.labelled.truth import truth_of


def test_an_image_in_two_classes_is_told_and_left_out():
    pairs = (("a.jpg", "roses"), ("a.jpg", "tulips"), ("b.jpg", "tulips"))
    truth = truth_of(Listing(pairs, ()), 2, ["roses", "tulips"])
    assert truth.examples == (("b.jpg", 1),)
    assert truth.problems == ("a.jpg: is in several classes (roses, tulips), and left out",)
    with pytest.raises(ValueError, match=r"no image of one class. a.jpg: .*roses, tulips"):
        truth_of(Listing(pairs[:2], ()), 2, ["roses", "tulips"])


def test_two_names_of_one_class_are_no_contradiction():
    pairs = (("a.jpg", "Red rose"), ("a.jpg", "red_rose"))
    truth = truth_of(Listing(pairs, ()), 2, ["red rose", "tulip"])
    assert truth == type(truth)((("a.jpg", 0),), truth.labels, ())
