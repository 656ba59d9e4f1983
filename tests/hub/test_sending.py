import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from hub.asking import png
from quickstudy import Client, QuickstudyError, ServiceError
from quickstudy.hub.sending import encoded, support


def sent(examples):
    return json.loads(encoded(support(examples)))


@pytest.mark.parametrize(
    ("labels", "wire"),
    [
        ([np.int64(3), np.str_("s")], [3, "s"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor([1, 2]), [1, 2]),
    ],
)
def test_labels_of_numpy_are_labels(labels, wire):
    assert sent(([[0], [1]], labels))["labels"] == wire
    assert sent({labels[0]: [[0]]})["labels"] == wire[:1]


@pytest.mark.parametrize(
    "targets",
    [[1.5, 2], [[1.5], [2]], [np.float32(1.5), np.int64(2)], np.array([[1.5], [2]]),
     [np.array([1.5]), np.array([2])]],
)  # fmt: skip
def test_targets_are_numbers_in_any_form(targets):
    assert sent(([[0], [1]], targets))["targets"] == [[1.5], [2]]


def test_images_are_sent_from_anything_that_holds_one(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    wide = Image.new("CMYK", (3, 3))  # no PNG holds such
    with (tmp_path / "a.png").open("rb") as file:
        forms = [tmp_path / "a.png", str(tmp_path / "a.png"), file, io.BytesIO(png()), png(),
                 bytearray(png()), wide]  # fmt: skip
        *same, tiff = sent({"a": forms})["images"]
    assert set(same) == {base64.b64encode(png()).decode()}
    assert Image.open(io.BytesIO(base64.b64decode(tiff))).mode == "CMYK"


@pytest.mark.parametrize(
    "x",
    [np.ones((2, 1)), torch.ones(2, 1), [np.ones(1), [1]], [[np.float32(1)], (1,)],
     (row for row in [[1], [1]]), np.full((2, 1), 255, np.uint8)],
)  # fmt: skip
def test_numbers_are_sent_from_anything_that_holds_them(x):
    assert sent({"a": x}) == {"x": [[1], [1]], "labels": ["a", "a"]}


def test_the_rows_of_a_table_are_inputs():
    import pandas

    table = pandas.DataFrame({"height": [1.0, 2.0], "width": [3.0, 4.0]})
    assert sent((table, pandas.Series(["a", "b"]))) == {"x": [[1, 3], [2, 4]], "labels": ["a", "b"]}


@pytest.mark.parametrize("x", [None, 3, "a.png", png(), Image.new("L", (2, 2)), io.BytesIO(png()),
                               {"a": 1}, np.array(3.0)])  # fmt: skip
def test_one_thing_is_no_list_of_inputs(x):
    client = Client("http://localhost:1")
    for examples in ({"alpha": x}, (x, ["a"])):
        with pytest.raises(ServiceError, match=r"inputs are a list; \[x\] is one input"):
            client.adapt("m", examples)


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ({None: [[0]]}, "a label is a string or a whole number, got None"),
        ({1.5: [[0]]}, "a label .* got 1.5"),
        ({b"a": [[0]]}, "a label .* got b'a'"),
        (([[0]], [True]), "a label .* got True"),
        (([[0]], [b"a"]), "a label .* got b'a'"),
        (([[0]], [np.bool_(True)]), "a label .* got True"),
        (([[0], [1]], [1.5, "a"]), "targets are numbers, got 'a'"),
        (([[0]], "a"), "labels are a list, one for each input; got str"),
        (([[0]], None), "labels are a list"),
        (([[0], [float("nan")]], ["a", "b"]), "input 2 holds NaN or infinity"),
        ({"a": np.array([[0, np.inf]])}, "input 1 holds NaN or infinity"),
        (([[0]], [float("inf")]), "target 1 holds NaN or infinity"),
        ({"a": [None]}, "input 1 is None; wanted numbers, or an image file"),
        ({"a": [[1j]]}, "inputs are numbers or image files, got a complex"),
        ({"a": [io.BytesIO()]}, "has nothing to read"),
        ({"a": [io.StringIO("text")]}, "wanted bytes"),
        ({"a": [Image.new("HSV", (2, 2))]}, "cannot read input 1"),
        ({"a": ["x" * 5000]}, "cannot read x{80}: "),
        (3, "got int"),
    ],
)
def test_what_cannot_be_sent_is_one_line(examples, words):
    with pytest.raises(QuickstudyError, match=words) as caught:
        Client("http://localhost:1").adapt("m", examples)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
