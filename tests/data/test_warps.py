import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.data.skeletons import STROKES
from quickstudy.data.warps import Pen, draw
from quickstudy.errors import DataError

STEADY = Pen(
    rotate=0.0,
    shear=0.0,
    stretch=0.0,
    scale=(1.0, 1.0),
    shift=0.0,
    wave=0.0,
    stroke_shift=0.0,
    stroke_turn=0.0,
    stroke_scale=0.0,
    width=(0.7, 0.7),
    gain=(1.0, 1.0),
)
"""A pen that draws exactly what it is given."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def characters(n, k=40, seed=0):
    """Random stroke points with padding."""
    generator = seeded(seed)
    points = torch.rand(n, k, 2, generator=generator) * 2 - 1
    strokes = torch.randint(-1, STROKES, (n, k), generator=generator)
    return points, strokes


def inked(picture):
    """Centre of the ink of pictures [n, 1, side, side] as x, y in [-1, 1]."""
    height, width = ((torch.arange(n) + 0.5) * (2 / n) - 1 for n in picture.shape[2:])
    total = picture.sum((1, 2, 3))
    return (picture.sum((1, 2)) @ width) / total, (picture.sum((1, 3)) @ height) / total


@given(n=st.integers(1, 5), side=st.integers(8, 40), seed=st.integers(0, 2**31))
def test_pictures_are_ink_on_nothing(n, side, seed):
    points, strokes = characters(n, seed=seed)
    picture = draw(points, strokes, Pen(), seeded(seed), side)
    assert picture.shape == (n, 1, side, side)
    assert picture.dtype == torch.float32
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    assert torch.equal(picture, draw(points, strokes, Pen(), seeded(seed), side))


def test_every_drawing_is_another():
    points, strokes = characters(1)
    pictures = draw(points.expand(6, -1, -1), strokes.expand(6, -1), Pen(), seeded())
    assert len(pictures.unique(dim=0)) == 6
    other = draw(points, strokes, Pen(), seeded(1))
    assert not torch.equal(pictures[:1], other)


def test_drawing_changes_neither_argument_nor_global_numbers():
    points, strokes = characters(3)
    before = points.clone(), strokes.clone(), torch.get_rng_state()
    draw(points, strokes, Pen(drop=0.5), seeded())
    assert torch.equal(points, before[0])
    assert torch.equal(strokes, before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_steady_pen_inks_a_gaussian_dot():
    """One point at the middle of pixel (row 9, column 20) of 28: 1 - exp(-bump), in closed form."""
    point = torch.tensor([[[(20 + 0.5) / 14 - 1, (9 + 0.5) / 14 - 1]]])
    picture = draw(point, torch.zeros(1, 1, dtype=torch.int64), STEADY, seeded())[0, 0]
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    squared = (rows - 9) ** 2 + (columns - 20) ** 2
    wanted = 1 - torch.exp(-torch.exp(-squared / (2 * 0.7**2)))
    torch.testing.assert_close(picture, wanted, atol=1e-6, rtol=0)


def test_ink_adds_up():
    point = torch.zeros(1, 3, 2)
    once = draw(point[:, :1], torch.zeros(1, 1, dtype=torch.int64), STEADY, seeded())
    thrice = draw(point, torch.zeros(1, 3, dtype=torch.int64), STEADY, seeded())
    torch.testing.assert_close(1 - thrice, (1 - once) ** 3)
    heavy = dataclasses.replace(STEADY, gain=(3.0, 3.0))
    torch.testing.assert_close(
        draw(point[:, :1], torch.zeros(1, 1, dtype=torch.int64), heavy, seeded()), thrice
    )


def test_larger_pictures_show_the_same():
    points, strokes = characters(2)
    small = draw(points, strokes, STEADY, seeded(), side=28)
    large = draw(points, strokes, STEADY, seeded(), side=56)
    pooled = torch.nn.functional.avg_pool2d(large, 2)
    assert float((pooled - small).abs().max()) < 0.08


def test_padding_is_not_drawn():
    points, strokes = characters(4)
    more = torch.cat([points, torch.full((4, 7, 2), 0.3)], dim=1)
    padded = torch.cat([strokes, torch.full((4, 7), -1)], dim=1)
    plain = draw(points, strokes, Pen(), seeded())
    torch.testing.assert_close(draw(more, padded, Pen(), seeded()), plain)
    nothing = draw(points, torch.full_like(strokes, -1), Pen(), seeded())
    assert not nothing.any()


@pytest.mark.parametrize("seed", range(3))
def test_shift_and_scale_place_the_character(seed):
    point, stroke = torch.zeros(2_000, 1, 2), torch.zeros(2_000, 1, dtype=torch.int64)
    moved = draw(point, stroke, dataclasses.replace(STEADY, shift=0.1), seeded(seed))
    x, y = inked(moved)
    for place in (x, y):  # the error of a deviation of 2,000 numbers is 1.6%
        assert float(place.std()) == pytest.approx(0.1, rel=0.08)
        assert abs(float(place.mean())) < 5 * 0.1 / 2_000**0.5
    edge = torch.tensor([[[0.8, 0.0]]]).expand(2_000, 1, 2)
    x, y = inked(draw(edge, stroke, dataclasses.replace(STEADY, scale=(0.5, 0.9)), seeded(seed)))
    assert float(x.min()) == pytest.approx(0.4, abs=0.005)
    assert float(x.max()) == pytest.approx(0.72, abs=0.005)
    assert float(y.abs().max()) < 1e-3


def test_rotate_turns_about_the_middle():
    point = torch.tensor([[[0.6, 0.0]]]).expand(2_000, 1, 2)
    stroke = torch.zeros(2_000, 1, dtype=torch.int64)
    x, y = inked(draw(point, stroke, dataclasses.replace(STEADY, rotate=0.2), seeded()))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((2_000,), 0.6), atol=0.01, rtol=0)
    assert float(torch.atan2(y, x).std()) == pytest.approx(0.2, rel=0.08)


@pytest.mark.parametrize("name", ["stroke_shift", "stroke_turn", "stroke_scale"])
def test_strokes_move_by_themselves(name):
    """Two bars of one character: each is changed on its own, about its own middle."""
    bar = torch.linspace(-0.3, 0.3, 13)
    upper = torch.stack([bar, torch.full_like(bar, -0.5)], dim=1)
    lower = torch.stack([bar, torch.full_like(bar, 0.5)], dim=1)
    points = torch.cat([upper, lower])[None].expand(400, 26, 2)
    strokes = torch.tensor([0] * 13 + [1] * 13)[None].expand(400, 26)
    plain = draw(points, strokes, STEADY, seeded())
    moved = draw(points, strokes, dataclasses.replace(STEADY, **{name: 0.1}), seeded())
    half = plain.shape[-1] // 2
    changes = [
        (moved[:, :, rows] - plain[:, :, rows]).abs().sum((1, 2, 3))
        for rows in (slice(0, half), slice(half, None))
    ]
    assert all(float(change.min()) > 0 for change in changes)
    correlation = torch.corrcoef(torch.stack(changes))[0, 1]
    assert abs(float(correlation)) < 5 / math.sqrt(400)
    if name != "stroke_shift":
        for rows in (slice(0, half), slice(half, None)):
            x, _ = inked(moved[:, :, rows])
            assert float(x.abs().max()) < 0.01


def test_waves_bend_smoothly():
    """Near points move alike, far points do not."""
    bend = dataclasses.replace(STEADY, wave=0.1)
    stroke = torch.zeros(2_000, 1, dtype=torch.int64)

    def moved(place):
        point = torch.tensor([[[place, 0.0]]]).expand(2_000, 1, 2)
        return inked(draw(point, stroke, bend, seeded()))[1]

    here, near, far = moved(0.0), moved(0.1), moved(-2.0 + 1.0)
    assert float(here.std()) == pytest.approx(0.1, rel=0.15)
    assert float(torch.corrcoef(torch.stack([here, near]))[0, 1]) > 0.9
    assert abs(float(torch.corrcoef(torch.stack([here, far]))[0, 1])) < 0.3


def test_drop_leaves_gaps():
    line = torch.stack([torch.linspace(-0.9, 0.9, 90), torch.zeros(90)], dim=1)[None]
    points, strokes = line.expand(500, 90, 2), torch.zeros(500, 90, dtype=torch.int64)
    whole = draw(points, strokes, STEADY, seeded())
    gaps = draw(points, strokes, dataclasses.replace(STEADY, drop=0.3), seeded())
    fewer = (gaps < whole - 0.3).flatten(1).any(1)
    assert float(fewer.float().mean()) == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 500) ** 0.5)
    assert bool((gaps <= whole + 1e-6).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pictures_have_the_points_type(dtype):
    points, strokes = characters(2)
    assert draw(points.to(dtype), strokes, Pen(), seeded()).dtype == dtype


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rotate": -0.1}, "rotate must be a number >= 0, got -0.1"),
        ({"wave": math.nan}, "wave must be a number >= 0, got nan"),
        ({"stroke_turn": math.inf}, "stroke_turn must be a number >= 0, got inf"),
        ({"drop": -1}, "drop must be a number >= 0, got -1"),
        ({"width": (0.0, 1.0)}, "width is a range of positive numbers, got (0.0, 1.0)"),
        ({"gain": (2.0, 1.0)}, "gain is a range of positive numbers, got (2.0, 1.0)"),
        ({"scale": (1.0,)}, "scale is a range of positive numbers, got (1.0,)"),
        ({"waves": 0}, "waves must be at least 1, got 0"),
    ],
)
def test_pens_that_cannot_write(wrong, message):
    with pytest.raises(DataError) as error:
        Pen(**wrong)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("points", "strokes"), [((2, 5), (2, 5)), ((2, 5, 3), (2, 5)), ((2, 5, 2), (2, 4))]
)
def test_points_and_strokes_that_do_not_fit(points, strokes):
    with pytest.raises(DataError, match=r"points \[n, k, 2\] and strokes \[n, k\], got"):
        draw(torch.zeros(points), torch.zeros(strokes, dtype=torch.int64), Pen(), seeded())
