import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from quickstudy.errors import DataError
from quickstudy.plots.canvas import BLUE, ORANGE
from quickstudy.plots.evaluation import evaluation_picture
from quickstudy.plots.rates import rates_picture


def holds(path, colour):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    wanted = np.round(np.array(to_rgb(colour)) * 255)
    return int((np.abs(pixels - wanted).max(-1) <= 2).sum())


def width(path):
    with Image.open(path) as image:
        return image.size[0]


def row(data="photos", shots=1, inner_steps=5, figure=0.7, control=0.4, metric="accuracy"):
    half = None if figure is None else 0.02
    told = {"name": "Control", metric: control, "interval95": 0.01}
    return {
        "data": data, "shots": shots, "inner_steps": inner_steps, "tasks": 100, "ways": 5,
        metric: figure, "interval95": half, "control": None if control is None else told,
    }  # fmt: skip


TABLE = np.array([[0, 0, 0], [10, 7, 6], [20, 18, 11.0]])
SHOTS = [row(shots=n) for n in (1, 2, 5, 10)]
STEPS = [row(inner_steps=n) for n in (0, 1, 2, 50)]
SWEEPS = {
    "one": ([row()], 1),
    "shots": (SHOTS, 1),
    "steps": (STEPS, 1),
    "both": (SHOTS + STEPS, 2),
    "domains": ([row(d) for d in ("a", "$b$", "一" * 40)], 1.35),
    "everything": (
        [row(d, s, k) for d in "abcdef" for s, k in ((1, 5), (5, 5), (1, 0), (1, 9))],
        3.35,
    ),
    "no steps": ([row(shots=n, inner_steps=None) for n in (1, 5)], 1),
    "no control": ([row(shots=n, control=None) for n in (1, 5)], 1),
    "no numbers": ([row(figure=None)], 1),
    "errors": ([row(shots=n, metric="squared_error", figure=3.0 / n) for n in (5, 10)], 1),
    "one error": ([row(metric="squared_error")], 1),
}


@pytest.mark.parametrize(("rows", "panels"), SWEEPS.values(), ids=SWEEPS)
@pytest.mark.parametrize("table", [None, TABLE])
def test_a_panel_for_each_thing_that_varies(tmp_path, rows, panels, table):
    path = tmp_path / "out.png"
    evaluation_picture(rows, path, calibration=table, title="runs/a")
    assert width(path) == int(3.9 * (panels + (table is not None)) * 150)
    assert holds(path, BLUE)


def test_the_control_is_orange_and_only_there_where_there_is_one(tmp_path):
    for name in ("shots", "no control"):
        evaluation_picture(SWEEPS[name][0], tmp_path / name)
    assert holds(tmp_path / "shots", ORANGE) > 50
    assert not holds(tmp_path / "no control", ORANGE)


def test_the_distance_from_the_line_is_orange(tmp_path):
    rows = SWEEPS["no control"][0]
    right = np.array([[10, 3.0, 3], [10, 9.0, 9]])
    evaluation_picture(rows, tmp_path / "honest.png", calibration=right)
    evaluation_picture(rows, tmp_path / "boasting.png", calibration=TABLE)
    assert holds(tmp_path / "honest.png", ORANGE) < holds(tmp_path / "boasting.png", ORANGE)


@pytest.mark.parametrize("table", [np.zeros((15, 3)), TABLE * [1, np.nan, 1]])
def test_a_table_that_says_nothing_is_drawn_empty(tmp_path, table):
    evaluation_picture([row()], tmp_path / "out.png", calibration=table)
    assert (tmp_path / "out.png").exists()


def test_no_rows_are_no_picture(tmp_path):
    with pytest.raises(DataError, match="needs at least one row, got none"):
        evaluation_picture([], tmp_path / "out.png")
    with pytest.raises(DataError, match="cannot write the picture"):
        evaluation_picture([row()], tmp_path / "none" / "out.png")
    assert not any(tmp_path.iterdir())


RATES = {
    "one": {"w": 0.1},
    "many": {f"layer{i}.weight": i / 100 for i in range(1, 90)},
    "spread": {"a.weight": (0.1, -0.2, 0.3), "b.weight": 0.2, "$x_1$": (0.1, 0.1, 0.1)},
    "wide": {"a": 1e-4, "b": 1.0},
    "zero": {"a": 0.0},
}


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
@pytest.mark.parametrize("start", [None, 0.1])
def test_rates_are_drawn(tmp_path, rates, start):
    rates_picture(tmp_path / "rates.png", rates, start=start)
    with Image.open(tmp_path / "rates.png") as image:
        assert image.size[0] == 1080
        assert image.size[1] == int((1.15 + 0.24 * min(60, len(rates))) * 150)


def test_a_negative_rate_looks_another_way(tmp_path):
    rates_picture(tmp_path / "up.png", {"a": 0.1, "b": 0.2})
    rates_picture(tmp_path / "down.png", {"a": 0.1, "b": -0.2})
    assert not holds(tmp_path / "up.png", ORANGE)
    assert holds(tmp_path / "down.png", ORANGE)
    assert holds(tmp_path / "down.png", BLUE) < holds(tmp_path / "up.png", BLUE)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({}, "needs at least one, got none"),
        ({"w": (0.1, 0.2)}, "one number or mean, low and high, got 2 for 'w'"),
        ({"w": float("nan")}, "rates must be finite, got nan for 'w'"),
    ],
)
def test_what_is_no_rate(tmp_path, rates, message):
    with pytest.raises(DataError, match=message):
        rates_picture(tmp_path / "rates.png", rates)
    assert not any(tmp_path.iterdir())
