import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from quickstudy.core import Evaluation
from quickstudy.errors import DataError
from quickstudy.plots.adaptation import adaptation_picture
from quickstudy.plots.canvas import GREEN, ORANGE, printable, sheet
from quickstudy.plots.curve import learning_curve
from quickstudy.plots.task import task_picture


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def holds(path, colour):
    wanted = np.round(np.array(to_rgb(colour)) * 255)
    return int((np.abs(pixels(path) - wanted).max(-1) <= 2).sum())


def steps(count, **last):
    return [{"step": s, "loss": 1 / s} for s in range(1, count)] + [{"step": count} | last]


def look(mean, interval95=0.01, metric="accuracy"):
    return {"mean": mean, "interval95": interval95, "metric": metric}


CURVES = {
    "loss": steps(60, loss=0.1),
    "one step": steps(1, loss=2.0),
    "evaluation": steps(20, validation=look(0.9)),
    "only evaluations": [{"step": 5, "validation": look(0.5)}, {"step": 1, "validation": None}],
    "no interval": steps(3, validation=look(0.5, None)),
    "nothing right": steps(3, loss=None, validation=look(0.0, 0.0)),
    "skipped steps": [*steps(200, loss=None), {"step": 201, "loss": float("inf")}],
    "no finite evaluation": steps(3, validation=look(None, None)),
    "errors": steps(9, validation=look(3.0, 0.1, "squared_error")),
    "errors that fall far": [
        {"step": s, "loss": 10.0**-s, "validation": look(10.0**-s, 0, "squared_error")}
        for s in range(1, 9)
    ],
    "unsorted": steps(9, loss=0.1)[::-1],
}


@pytest.mark.parametrize("rows", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("control", [None, 0.2])
def test_a_curve_is_drawn_of_whatever_happened(tmp_path, rows, control):
    learning_curve(rows, tmp_path / "curve.png", control=control)
    height, width, _ = pixels(tmp_path / "curve.png").shape
    assert width == 1080
    assert height in (480, 795)
    drawn = any(row.get("validation") for row in rows) and control is not None
    assert bool(holds(tmp_path / "curve.png", ORANGE)) == drawn


@pytest.mark.parametrize("rows", [[], [{"step": 1, "loss": None}], [{"step": 1, "rate": 0.1}]])
def test_a_curve_of_nothing_is_refused(tmp_path, rows):
    with pytest.raises(DataError, match=f"got {len(rows)} rows"):
        learning_curve(rows, tmp_path / "curve.png")
    assert not any(tmp_path.iterdir())


def task(way=3, shot=1, queries=2, shape=(1, 9, 9), names="abcdefghijklmnopqrstuvwxyz"):
    rng = np.random.default_rng(0)
    labels = [list(np.repeat(list(names[:way]), n)) for n in (shot, queries)]
    images = [rng.random((way * n, *shape)) for n in (shot, queries)]
    return images[0], labels[0], images[1], labels[1]


def test_right_and_wrong_answers_are_told_apart_by_colour_thickness_and_words(tmp_path):
    images, labels, queries, truths = task()
    task_picture(images, labels, queries, truths, truths, tmp_path / "right.png")
    task_picture(images, labels, queries, truths, ["a"] * 6, tmp_path / "two.png")
    task_picture(images, labels, queries, truths, ["?"] * 6, tmp_path / "wrong.png")
    right, two, wrong = (
        (holds(tmp_path / f"{name}.png", GREEN), holds(tmp_path / f"{name}.png", ORANGE))
        for name in ("right", "two", "wrong")
    )
    assert right[1] == wrong[0] == 0
    assert 0 < two[0] < right[0]
    assert 0 < two[1] < wrong[1]
    assert wrong[1] > right[0]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (20, 12), (3, 5, 40)])
def test_pictures_of_any_shape(tmp_path, shape):
    images, labels, queries, truths = task(shape=shape)
    task_picture(images, labels, queries, truths, truths, tmp_path / "task.png")
    assert holds(tmp_path / "task.png", GREEN)


def test_a_large_task_is_drawn_in_part(tmp_path):
    images, labels, queries, truths = task(way=26, shot=6, queries=12)
    task_picture(images, labels, queries, truths, truths, tmp_path / "task.png")
    height, width, _ = pixels(tmp_path / "task.png").shape
    assert height < 2800
    assert width < 2000


def test_bytes_and_floats_make_the_same_picture_and_dark_ink_another(tmp_path):
    images, labels, queries, truths = task()
    images, queries = np.round(images * 255) / 255, np.round(queries * 255) / 255
    files = {}
    for name, scale, dark in (("floats", None, False), ("bytes", 255, False), ("dark", None, True)):
        halves = [
            x if scale is None else (x * scale).round().astype(np.uint8) for x in (images, queries)
        ]
        task_picture(halves[0], labels, halves[1], truths, truths, tmp_path / name, dark_ink=dark)
        files[name] = (tmp_path / name).read_bytes()
    assert files["floats"] == files["bytes"] != files["dark"]


LABELS = [
    "$5 and $x_2$",
    "一二三",
    "\N{GRINNING FACE}",
    "a" * 80,
    "two\nlines\t\x07",
    ("a", 1),
    7,
    None,
    "",
]


@pytest.mark.parametrize("label", LABELS, ids=repr)
def test_labels_of_any_kind_can_be_written(tmp_path, label):
    images, _, queries, _ = task(way=2, queries=1)
    labels = [label, "other"]
    task_picture(
        images, labels, queries, labels, labels[::-1], tmp_path / "t.png", title=str(label)
    )
    assert holds(tmp_path / "t.png", ORANGE)
    assert len(printable(label, 9)) <= 9
    assert printable(label, 9).isprintable()


def test_labels_that_differ_at_one_end_stay_apart():
    names = ["Armenian/character01", "Armenian/character02", "Hebrew/character01"]
    assert len({printable(name, 9) for name in names}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support": np.zeros((3, 8))}, r"support pictures must be .* got \[3, 8\]"),
        ({"query": np.zeros((6, 2, 8, 8))}, r"query pictures must be .* got \[6, 2, 8, 8\]"),
        ({"support": np.zeros((0, 1, 8, 8)), "support_labels": []}, "support pictures must be"),
        ({"support_labels": ["a", "b"]}, "every support needs a label, got 3 and 2 labels"),
        ({"query_labels": ["a"]}, "every query needs a label, got 6 and 1 labels"),
        ({"answers": ["a"]}, "every answer needs a label, got 1 and 6 labels"),
        ({"support_labels": ["a", "b", "d"]}, "needs a support picture, got none for 'c'"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path, change, message):
    images, labels, queries, truths = task()
    told = {"support": images, "support_labels": labels, "path": tmp_path / "task.png"}
    told |= {"query": queries, "query_labels": truths, "answers": truths} | change
    with pytest.raises(DataError, match=message):
        task_picture(**told)
    assert not any(tmp_path.iterdir())


def adaptation(path, names=("MAML", "pretrained"), **told):
    x = np.linspace(-1, 1, 20)
    fits = {name: {0: 0 * x, 1: x / 2, 10: x} for name in names}
    errors = {name: {s: Evaluation(1 / (1 + s), 0.1, 100) for s in range(3)} for name in names}
    told = {"x": x, "truth": x, "support": ([0], [0]), "fits": fits, "errors": errors} | told
    adaptation_picture(path, **told)


@pytest.mark.parametrize("names", [["MAML"], ["MAML", "$x_1$"], ["a", "b", "c"]])
def test_fits_and_errors_of_a_few_learners(tmp_path, names):
    adaptation(tmp_path / "fits.png", names, title="A $5 sine")
    assert pixels(tmp_path / "fits.png").shape[1] == round(3.4 * (len(names) + 1) * 150)


@pytest.mark.parametrize("told", [{"fits": {}, "errors": {}}, {"errors": {}}, {"names": "abcd"}])
def test_fits_and_errors_are_of_the_same_few_learners(tmp_path, told):
    with pytest.raises(DataError, match="same 1 to 3 learners"):
        adaptation(tmp_path / "fits.png", **told)


def test_the_same_numbers_make_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        learning_curve(CURVES["evaluation"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_users_settings_neither_show_nor_change(tmp_path):
    learning_curve(CURVES["loss"], tmp_path / "plain.png")
    with matplotlib.rc_context(
        {"lines.linewidth": 9, "axes.facecolor": "black", "text.usetex": True}
    ):
        before = dict(matplotlib.rcParams)
        learning_curve(CURVES["loss"], tmp_path / "odd.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "odd.png").read_bytes()


def test_threads_draw_side_by_side(tmp_path):
    def draw(number):
        learning_curve(CURVES["loss"], tmp_path / f"{number}.png")
        return (tmp_path / f"{number}.png").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(8)))) == 1


def test_a_picture_that_cannot_be_written_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match=r"cannot write the picture .*: No such file or directory"):
        learning_curve(CURVES["loss"], tmp_path / "none" / "curve.png")


def test_an_error_while_drawing_leaves_no_file(tmp_path):
    with pytest.raises(KeyError), sheet(tmp_path / "picture.png", 1, 1):
        raise KeyError
    assert not any(tmp_path.iterdir())


def test_no_display_no_locale_no_pyplot(tmp_path):
    code = (
        "import sys; from quickstudy.plots import curve, task, adaptation; "
        "curve.learning_curve([{'step': 1, 'loss': 2.0}], 'c.png', title='Ångström ✗'); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    bare = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "LANG")}
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, check=True, env=bare | {"LC_ALL": "C", "MPLBACKEND": "TkAgg"}, timeout=120,
    )  # fmt: skip
    assert (tmp_path / "c.png").exists()
