import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from quickstudy.data.skeletons import POINTS, STROKES, skeletons, thin

pictures = stnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)))


def components(ink):
    """How many 8-connected pieces a picture [h, w] has, by flooding."""
    left = set(map(tuple, np.argwhere(ink)))
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
    return count


def drawn(*lines, side=21):
    """A picture of thin lines (y0, x0, y1, x1)."""
    ink = np.zeros((side, side), bool)
    for y0, x0, y1, x1 in lines:
        steps = max(abs(y1 - y0), abs(x1 - x0))
        along = np.arange(steps + 1) / steps
        ink[
            (y0 + along * (y1 - y0)).round().astype(int),
            (x0 + along * (x1 - x0)).round().astype(int),
        ] = True
    return ink


def strokes_of(ink):
    found = skeletons(ink[None])
    return [
        {tuple(p) for p in found.points[0][found.strokes[0] == number].tolist()}
        for number in range(found.strokes.max() + 1)
    ]


@given(pictures)
def test_thinning_removes_ink_only_and_does_not_depend_on_company(ink):
    thinned = thin(ink)
    assert not (thinned & ~ink).any()
    for alone, together in zip(ink, thinned, strict=True):
        assert np.array_equal(thin(alone[None])[0], together)
    assert np.array_equal(thin(thinned), thinned)


@given(st.lists(st.tuples(*[st.integers(3, 17)] * 4), min_size=1, max_size=3))
def test_thinning_keeps_thick_drawings_in_as_many_pieces(lines):
    ink = np.zeros((21, 21), bool)
    for y0, x0, y1, x1 in lines:
        ink[min(y0, y1) - 1 : max(y0, y1) + 2, min(x0, x1) - 1 : max(x0, x1) + 2] = True
    thinned = thin(ink[None])[0]
    assert components(thinned) == components(ink)
    assert thinned.sum() < ink.sum()


def test_a_bar_becomes_its_middle_line():
    ink = np.zeros((1, 11, 21), bool)
    ink[0, 3:8, 2:19] = True
    rows, columns = np.nonzero(thin(ink)[0])
    assert set(rows.tolist()) == {5}
    assert columns.min() <= 5
    assert columns.max() >= 15


def test_strokes_end_where_lines_meet():
    for lines, arms in (
        (((3, 3, 17, 17), (3, 17, 17, 3)), 4),
        (((2, 10, 10, 10), (10, 10, 17, 3), (10, 10, 17, 17)), 3),
    ):
        ink = drawn(*lines)
        strokes = strokes_of(ink)
        assert len(strokes) == arms
        assert sum(map(len, strokes)) == len(set.union(*strokes)) == ink.sum()


def test_lines_that_turn_a_corner_diagonally_stay_one_stroke():
    assert len(strokes_of(drawn((10, 2, 10, 18), (2, 10, 18, 10)))) == 1


def test_pieces_are_strokes():
    strokes = strokes_of(drawn((2, 2, 2, 18), (10, 2, 10, 18), (18, 2, 18, 18)))
    assert [{y for _, y in stroke} for stroke in strokes] == [{-16}, {0}, {16}]


def test_a_ring_is_one_stroke():
    strokes = strokes_of(drawn((4, 4, 4, 16), (4, 16, 16, 16), (16, 16, 16, 4), (16, 4, 4, 4)))
    assert len(strokes) == 1


def test_points_are_half_pixels_from_the_centre():
    ink = np.zeros((2, 4, 4), bool)
    ink[0, 0, 0] = ink[1, 3, 1] = True
    found = skeletons(ink)
    assert found.points[:, 0].tolist() == [[-3, -3], [-1, 3]]
    assert (found.strokes[:, 0] == 0).all()
    assert (found.strokes[:, 1:] == -1).all()


def test_an_empty_picture_has_no_points():
    found = skeletons(np.zeros((2, 8, 8), bool))
    assert found.points.shape == (2, POINTS, 2)
    assert (found.strokes == -1).all()
    mixed = skeletons(np.stack([np.zeros((8, 8), bool), np.eye(8, dtype=bool)]))
    assert [(row >= 0).sum() for row in mixed.strokes] == [0, 8]


@given(pictures)
def test_every_pixel_of_the_skeleton_is_a_point(ink):
    side = max(ink.shape[1:])
    square = np.zeros((len(ink), side, side), bool)
    square[:, : ink.shape[1], : ink.shape[2]] = ink
    found, thinned = skeletons(square), thin(square)
    for points, strokes, picture in zip(*found, thinned, strict=True):
        real = strokes >= 0
        y, x = np.nonzero(picture)
        pixels = set(zip((2 * x - side + 1).tolist(), (2 * y - side + 1).tolist(), strict=True))
        assert {tuple(p) for p in points[real].tolist()} <= pixels
        assert real.sum() == min(len(pixels), POINTS)
        assert len({tuple(p) for p in points[real].tolist()}) == real.sum()
        assert strokes.max(initial=-1) < STROKES
        assert (np.diff(real.astype(int)) <= 0).all()  # padding comes last


def test_long_skeletons_are_thinned_out_evenly():
    ink = np.zeros((1, 60, 60), bool)
    for row in range(2, 60, 8):
        ink[0, row, 2:58] = True  # 8 lines of 56 points
    found = skeletons(ink)
    assert (found.strokes >= 0).all()
    assert np.bincount(found.strokes[0]).tolist() == [12] * 8


def test_more_strokes_than_numbers():
    ink = np.zeros((1, 56, 56), bool)
    ink[0, ::4, 10:14] = True  # 14 strokes
    numbers = skeletons(ink).strokes[0]
    assert numbers[numbers >= 0].max() == STROKES - 1
    assert (numbers >= 0).sum() == 56
    assert (numbers == 0).sum() == (numbers == 1).sum() == 8
