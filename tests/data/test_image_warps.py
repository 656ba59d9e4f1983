import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.data.episodes import Episodes
from quickstudy.data.image_warps import ImageWarp, Reframe
from quickstudy.data.pools import Pool
from quickstudy.errors import DataError

STILL = ImageWarp(rotate=0, shear=0, stretch=0, scale=0, shift=0, wave=0)
"""A warp that changes nothing."""
SIZES = ["rotate", "shear", "stretch", "scale", "shift", "wave"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dot(x, y, n=2_000, side=33):
    """n images of a soft dot at x, y of [-1, 1]."""
    places = (2 * torch.arange(side) + 1 - side) / side
    squared = (places[None] - x) ** 2 + (places[:, None] - y) ** 2
    return torch.exp(-squared / (2 * 0.1**2)).expand(n, 1, side, side)


def centres(images):
    """Centre of the ink of each image as x, y in [-1, 1]."""
    places = (2 * torch.arange(images.shape[-1]) + 1 - images.shape[-1]) / images.shape[-1]
    total = images.sum((1, 2, 3))
    return (images.sum((1, 2)) @ places) / total, (images.sum((1, 3)) @ places) / total


@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    padding=st.sampled_from(["zeros", "border", "reflection"]),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)
def test_images_stay_images(n, channels, height, width, padding, dtype, seed):
    images = torch.randint(0, 256, (n, channels, height, width), generator=seeded(seed))
    images = images.to(dtype) if dtype == torch.uint8 else images.to(dtype) / 255
    warp = ImageWarp(padding=padding)
    warped = warp(images, seeded(seed))
    assert warped.shape == images.shape
    assert warped.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert float(warped.min()) >= 0
    assert float(warped.max()) <= 1
    assert torch.equal(warped, warp(images, seeded(seed)))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 11, 20)])
def test_without_sizes_nothing_changes(padding, shape):
    images = torch.randint(0, 256, shape, generator=seeded(), dtype=torch.uint8)
    warp = dataclasses.replace(STILL, padding=padding)
    torch.testing.assert_close(warp(images, seeded()), images / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_each_size_changes_each_image_in_its_own_way(size):
    images = dot(0.4, -0.2, n=6)
    warped = dataclasses.replace(STILL, **{size: 0.1})(images, seeded())
    assert len(warped.unique(dim=0)) == 6
    assert float((warped - images).abs().flatten(1).amax(1).min()) > 1e-4
    assert not torch.equal(warped, dataclasses.replace(STILL, **{size: 0.1})(images, seeded(1)))


def test_neither_images_nor_global_numbers_change():
    images, state = dot(0.1, 0.2, n=3).clone(), torch.get_rng_state()
    before = images.clone()
    ImageWarp()(images, seeded())
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_generator_may_live_elsewhere():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8, device="meta")  # mixing devices is an error
    assert ImageWarp()(images, seeded()).device.type == "meta"


def test_ink_is_roughly_kept():
    images = dot(0.2, -0.3)
    warped = ImageWarp()(images, seeded())
    assert float(warped.sum() / images.sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_shift_moves_by_half_sides(seed):
    warped = dataclasses.replace(STILL, shift=0.1)(dot(0.0, 0.0), seeded(seed))
    for place in centres(warped):  # the error of a deviation of 2,000 numbers is 1.6 %
        assert float(place.std()) == pytest.approx(0.1, rel=0.08)
        assert abs(float(place.mean())) < 5 * 0.1 / 2_000**0.5


def test_rotate_turns_about_the_middle():
    x, y = centres(dataclasses.replace(STILL, rotate=0.2)(dot(0.5, 0.0), seeded()))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((2_000,), 0.5), atol=0.01, rtol=0)
    assert float(torch.atan2(y, x).std()) == pytest.approx(0.2, rel=0.08)


def test_scale_and_stretch_keep_the_middle():
    x, y = centres(dataclasses.replace(STILL, scale=0.15)(dot(0.3, 0.15), seeded()))
    assert float((x / 0.3).log().std()) == pytest.approx(0.15, rel=0.1)
    torch.testing.assert_close(x, 2 * y, atol=0.02, rtol=0)
    x, y = centres(dataclasses.replace(STILL, stretch=0.2)(dot(0.3, 0.3), seeded()))
    assert float((x / y).log().std()) == pytest.approx(0.2, rel=0.1)
    torch.testing.assert_close(x * y, torch.full((2_000,), 0.09), atol=0.01, rtol=0)


def test_waves_bend_smoothly():
    """Near points move alike, far points do not."""
    bend = dataclasses.replace(STILL, wave=0.08)
    here, near, far = (centres(bend(dot(x, 0.0), seeded()))[1] for x in (0.4, 0.5, -0.6))
    assert float(here.std()) == pytest.approx(0.08, rel=0.2)
    assert float(torch.corrcoef(torch.stack([here, near]))[0, 1]) > 0.9
    assert abs(float(torch.corrcoef(torch.stack([here, far]))[0, 1])) < 0.5


def test_a_turned_bar_of_a_wide_image_keeps_its_length():
    """Lengths are those of pixels, not shares of each side."""
    image = torch.zeros(1, 1, 21, 63)
    image[..., 10, 22:41] = 1  # 19 long
    turned = dataclasses.replace(STILL, rotate=0.5)(image.expand(200, -1, -1, -1), seeded())
    rows = torch.arange(21.0)[:, None] - 10
    columns = torch.arange(63.0) - 31
    total = turned.sum((1, 2, 3))
    spread = (turned[:, 0] * (rows**2 + columns**2)).sum((1, 2)) / total
    inside = (turned[:, 0, 0].sum(-1) == 0) & (turned[:, 0, -1].sum(-1) == 0)
    assert int(inside.sum()) > 100
    torch.testing.assert_close(
        spread[inside], torch.full_like(spread[inside], 30.0), atol=2, rtol=0
    )


def test_what_lies_beyond_the_image():
    white = torch.ones(40, 1, 16, 16)
    smaller = dataclasses.replace(STILL, scale=0.3)
    assert float(smaller(white, seeded()).min()) == 0
    for padding in ("border", "reflection"):
        kept = dataclasses.replace(smaller, padding=padding)(white, seeded())
        torch.testing.assert_close(kept, white)


def test_tasks_are_drawn_through_it():
    pool = Pool.from_labels(
        torch.randint(0, 256, (30, 1, 12, 12), dtype=torch.uint8), torch.arange(30) // 6
    )
    source = Episodes(pool, 3, 1, 2, rotations=True, transform=ImageWarp())
    task = source.sample(2, seeded())
    assert task.query.x.shape == (2, 6, 1, 12, 12)
    assert torch.equal(task.query.x, source.sample(2, seeded()).query.x)
    assert not torch.equal(task.query.x, source.sample(2, seeded(1)).query.x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rotate": -0.1}, "an image warp's rotate must be a number >= 0, got -0.1"),
        ({"wave": math.nan}, "an image warp's wave must be a number >= 0, got nan"),
        ({"scale": math.inf}, "an image warp's scale must be a number >= 0, got inf"),
        ({"padding": "wrap"}, "padding must be zeros, border or reflection, got 'wrap'"),
    ],
)
def test_warps_that_cannot_be(wrong, message):
    with pytest.raises(DataError) as error:
        ImageWarp(**wrong)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.zeros(2, 8, 8), r"\[2, 8, 8\] of float32"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), r"\[2, 1, 8, 8\] of int64"),
    ],
)
def test_what_is_no_image_is_refused(images, got):
    with pytest.raises(DataError, match=rf"images \[n, c, h, w\] of uint8 or floats, got {got}"):
        ImageWarp()(images, seeded())


@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    mirror=st.floats(0, 1),
    shift=st.floats(0, 1),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)
def test_a_frame_holds_pixels_of_its_image(n, channels, height, width, mirror, shift, dtype, seed):
    images = torch.randint(0, 256, (n, channels, height, width), generator=seeded(seed))
    images = images.to(dtype) if dtype == torch.uint8 else images.to(dtype) / 255
    before, reframe = images.clone(), Reframe(mirror, shift)
    framed = reframe(images, seeded(seed))
    assert framed.shape == images.shape
    assert framed.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert torch.equal(framed, reframe(images, seeded(seed)))
    assert torch.equal(images, before)
    floats = Reframe(0, 0)(images, seeded())
    for image, frame in zip(floats, framed, strict=True):
        held, shown = ({tuple(pixel) for pixel in x.flatten(1).T.tolist()} for x in (image, frame))
        assert shown <= held


def test_a_frame_moves_by_whole_pixels_and_continues_its_edge():
    image = torch.arange(100.0).reshape(1, 1, 10, 10) / 99
    framed = Reframe(mirror=0, shift=0.2)(image.expand(2_000, -1, -1, -1), seeded())
    moves = set()
    for down in range(-2, 3):
        for right in range(-2, 3):
            rows = (torch.arange(10) + down).clamp(0, 9)
            columns = (torch.arange(10) + right).clamp(0, 9)
            same = (framed == image[:, :, rows][..., columns]).flatten(1).all(1)
            moves |= {(down, right, index) for index in same.nonzero().flatten().tolist()}
    assert len(moves) == 2_000  # each of them is one of the 25 moves
    counts = torch.bincount(torch.tensor([5 * down + right + 12 for down, right, _ in moves]))
    assert len(counts) == 25
    assert float(counts.min()) > 80 - 5 * 80**0.5  # all equally likely


def test_half_the_images_are_mirrored():
    image = torch.rand(1, 3, 5, 7, generator=seeded())
    framed = Reframe(shift=0)(image.expand(1_000, -1, -1, -1), seeded())
    mirrored = (framed == image.flip(-1)).flatten(1).all(1)
    assert bool(((framed == image).flatten(1).all(1) ^ mirrored).all())
    assert abs(int(mirrored.sum()) - 500) < 5 * 250**0.5


def test_a_frame_is_drawn_where_the_generator_lives():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8, device="meta")  # mixing devices is an error
    state = torch.get_rng_state()
    assert Reframe()(images, seeded()).device.type == "meta"
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("wrong", [{"mirror": 1.5}, {"shift": -0.1}, {"shift": math.nan}])
def test_frames_that_cannot_be(wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=rf"a reframing's {name} must be a number in 0..1, got"):
        Reframe(**wrong)
    with pytest.raises(DataError, match=r"needs images \[n, c, h, w\], got \[2, 8, 8\]"):
        Reframe()(torch.zeros(2, 8, 8), seeded())
