import io
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from PIL import Image
from pydantic import ValidationError

from quickstudy.data.preprocessing import Preprocessing, Unreadable, decode, is_grey, prepare

INK = Preprocessing(size=28, channels=1, polarity="ink")


def file_of(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def letter(paper=255, ink=0, size=(100, 100), mode="L", box=(20, 15, 80, 85)):
    """An L on paper: upright, with a foot to the right."""
    image = Image.new(mode, size, paper)
    left, top, right, bottom = box
    thick = max(2, (right - left) // 6)
    image.paste(ink, (left, top, left + thick, bottom))
    image.paste(ink, (left, bottom - thick, right, bottom))
    return image


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": 5000},
        {"size": "28"},
        {"size": 28, "channels": 2},
        {"size": 28, "polarity": "dark"},
    ],
)
def test_a_preprocessing_is_checked(wrong):
    with pytest.raises(ValidationError):
        Preprocessing(**wrong)


def test_a_preprocessing_survives_json():
    assert Preprocessing.model_validate_json(INK.model_dump_json()) == INK


@pytest.mark.parametrize(
    ("mode", "value", "decoded"),
    [
        ("1", 1, ("L", 255)),
        ("L", 77, ("L", 77)),
        ("RGB", (1, 2, 3), ("RGB", (1, 2, 3))),
        ("RGBA", (1, 2, 3, 4), ("RGBA", (1, 2, 3, 4))),
        ("LA", (5, 6), ("LA", (5, 6))),
        ("I;16", 65535, ("L", 255)),
        ("I;16", 257 * 9, ("L", 9)),
    ],
)
def test_decode_gives_four_modes(mode, value, decoded):
    image = decode(file_of(Image.new(mode, (3, 2), value)))
    assert image.mode == decoded[0]
    assert image.getpixel((2, 1)) == decoded[1]


def test_decode_reads_palettes_with_and_without_transparency():
    colours = Image.new("RGB", (4, 4), (255, 0, 0))
    colours.paste((0, 0, 255), (0, 0, 2, 4))
    palette = colours.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    plain = decode(file_of(palette))
    assert plain.mode == "RGB"
    assert plain.getpixel((0, 0)) == (0, 0, 255)
    index = palette.getpixel((0, 0))
    clear = decode(file_of(palette, transparency=index))
    assert clear.mode == "RGBA"
    assert clear.getpixel((0, 0))[3] == 0
    assert clear.getpixel((3, 0)) == (255, 0, 0, 255)
    seen = prepare(clear, Preprocessing(size=4, channels=3))
    assert seen[:, 0, 0].tolist() == [255, 255, 255]  # transparent is white paper
    assert seen[:, 0, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_turns_a_photo_upright(orientation):
    upright = letter(size=(60, 40), box=(10, 5, 30, 35))
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(file_of(stored, exif=exif))
    assert seen.size == upright.size
    assert np.array_equal(np.asarray(seen), np.asarray(upright))


def test_decode_reads_the_first_frame(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "two.gif").convert("L").getpixel((0, 0)) == 10


def truncated(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = file_of(Image.fromarray(noise), kind).getvalue()
    return io.BytesIO(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (lambda: io.BytesIO(b""), "no image"),
        (lambda: io.BytesIO(b"words"), "no image"),
        (lambda: truncated("PNG"), "truncated|broken"),
        (lambda: truncated("JPEG"), "truncated"),
        (lambda: file_of(Image.new("F", (2, 2)), "TIFF"), "floating-point"),
        (lambda: file_of(Image.new("I", (2, 2), 70_000), "TIFF"), "more than 16 bits"),
        (lambda: "no/such/file.png", "no such file"),
    ],
)
def test_decode_says_why_not(source, reason):
    with pytest.raises(Unreadable, match=reason) as error:
        decode(source())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "PDF", "TGA", "PCX"])
def test_no_other_decoder_is_tried(kind):
    with pytest.raises(Unreadable, match=r"^no image that can be read$"):
        decode(file_of(Image.new("RGB", (20, 20)), kind))


@pytest.mark.parametrize("limit", [60, 30])  # Pillow warns at the first and refuses at twice it
def test_decode_refuses_decompression_bombs(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(Unreadable, match=r"^more than .* million pixels$"):
        decode(file_of(Image.new("L", (10, 10))))


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    def load(_):
        raise AssertionError

    large = file_of(Image.new("1", (10_000, 5_001)))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(Unreadable, match=r"^more than 50 million pixels$"):
        decode(large)


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("PNG", "P"), ("PNG", "RGB"), ("JPEG", "L"), ("JPEG", "RGB")]
)
def test_a_large_image_is_reduced(kind, mode):
    image = letter(size=(4000, 5000), box=(1000, 1000, 3000, 3000)).convert(mode)
    seen = decode(file_of(image, kind))
    assert seen.size == (1334, 1667)
    assert seen.convert("L").getpixel((900, 980)) < 9
    assert seen.convert("L").getpixel((900, 800)) > 246
    small = Image.new("L", (2048, 300))
    assert decode(file_of(small)).size == small.size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_large_image_takes_little_memory():
    """16 megapixels with transparency: 64 MB, which are held twice."""
    script = """
        import io, re, sys
        from pathlib import Path
        from quickstudy.data.preprocessing import Preprocessing, decode, prepare
        file = io.BytesIO(bytes.fromhex(sys.stdin.read()))
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        before = peak()
        for polarity in ("as-is", "ink"):
            file.seek(0)
            prepare(decode(file), Preprocessing(size=28, channels=1, polarity=polarity))
        print((peak() - before) // 1024)
    """
    large = (4000, 4000)
    clear = letter((0, 0, 0, 0), (0, 0, 0, 255), large, "RGBA", box=(500, 500, 3000, 3000))
    command = [sys.executable, "-c", textwrap.dedent(script)]
    told = file_of(clear, compress_level=1).getvalue().hex()
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250


def test_decode_leaves_the_warning_filters_alone():
    before = list(warnings.filters)
    decode(file_of(Image.new("L", (3, 3))))
    assert warnings.filters == before


def test_is_grey_looks_at_the_pixels():
    assert is_grey(Image.new("L", (2, 2)))
    assert is_grey(Image.new("RGB", (2, 2), (7, 7, 7)))
    assert is_grey(Image.new("RGBA", (2, 2), (7, 7, 7, 0)))
    coloured = Image.new("RGB", (2, 2), (7, 7, 7))
    coloured.putpixel((1, 1), (7, 7, 8))
    assert not is_grey(coloured)


@given(
    pixels=stnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    size=st.integers(4, 40),
    channels=st.sampled_from([1, 3]),
)
def test_any_image_becomes_a_square(pixels, size, channels):
    seen = prepare(Image.fromarray(pixels), Preprocessing(size=size, channels=channels))
    assert seen.shape == (channels, size, size)
    assert seen.dtype == np.uint8
    assert pixels.min() <= seen.min()
    assert seen.max() <= pixels.max()


def test_an_image_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    seen = prepare(Image.fromarray(pixels), Preprocessing(size=8, channels=3))
    assert np.array_equal(seen, pixels.transpose(2, 0, 1))


def test_a_wide_image_is_centred_on_the_colour_of_its_border():
    image = Image.new("RGB", (12, 4), (10, 20, 30))
    image.paste((200, 0, 0), (5, 1, 7, 3))
    seen = prepare(image, Preprocessing(size=12, channels=3))
    assert seen[:, 0, 0].tolist() == [10, 20, 30]
    red = seen[0] == 200
    assert red.sum() == 4  # nothing is stretched
    assert np.argwhere(red).tolist() == [[5, 5], [5, 6], [6, 5], [6, 6]]


def test_ink_of_the_right_size_is_not_touched():
    pixels = np.zeros((28, 28), np.uint8)
    pixels[5:24, 6:9] = 255
    pixels[21:24, 6:22] = 128
    assert np.array_equal(prepare(Image.fromarray(pixels), INK)[0], pixels)


LOOKS = {
    "chalk on a board": letter(paper=0, ink=255),
    "pencil": letter(paper=250, ink=120),
    "chalk on green": letter(paper=(20, 80, 40), ink=(230, 240, 230), mode="RGB"),
    "red on white": letter(paper=(255, 255, 255), ink=(220, 20, 20), mode="RGB"),
    "yellow on white": letter(paper=(255, 255, 255), ink=(250, 240, 0), mode="RGB"),
    "black on nothing": letter(paper=(0, 0, 0, 0), ink=(0, 0, 0, 255), mode="RGBA"),
    "white on nothing": letter(paper=(0, 0, 0, 0), ink=(255, 255, 255, 255), mode="RGBA"),
    "grey with alpha": letter(paper=(0, 0), ink=(0, 255), mode="LA"),
}


@pytest.mark.parametrize("look", LOOKS)
def test_ink_looks_alike_on_any_paper(look):
    wanted = prepare(letter(), INK)
    assert wanted.max() == 255
    assert np.median(wanted) == 0
    assert np.array_equal(prepare(LOOKS[look], INK), wanted)


def test_ink_in_three_channels_is_the_same_three_times():
    seen = prepare(letter(), Preprocessing(size=28, channels=3, polarity="ink"))
    assert np.array_equal(seen, np.repeat(prepare(letter(), INK), 3, axis=0))


def test_ink_is_found_on_grainy_shaded_paper():
    rng = np.random.default_rng(0)
    page = np.asarray(letter(paper=200, ink=40, size=(400, 400), box=(80, 60, 320, 340)))
    shade = np.linspace(-15, 15, 400)[None]
    photo = np.clip(page + shade + rng.normal(0, 4, page.shape), 0, 255).astype(np.uint8)
    seen = prepare(Image.fromarray(photo), INK)[0].astype(int)
    clean = prepare(letter(size=(400, 400), box=(80, 60, 320, 340)), INK)[0].astype(int)
    assert (seen[clean == 0] < 30).all()
    assert (seen[clean == 255] > 200).all()


@pytest.mark.parametrize("corner", [(10, 10), (900, 40), (480, 930)])
def test_a_small_drawing_is_enlarged_wherever_it_is(corner):
    left, top = corner
    small = letter(size=(1000, 1000), box=(left, top, left + 60, top + 60))
    seen = prepare(small, INK)[0]
    rows, columns = np.nonzero(seen > 127)
    assert 0.6 <= (np.ptp(rows) + 1) / 28 <= 0.8
    assert 0.6 <= (np.ptp(columns) + 1) / 28 <= 0.8
    assert abs((rows.min() + rows.max()) / 2 - 13.5) <= 1
    assert abs((columns.min() + columns.max()) / 2 - 13.5) <= 1


def test_a_drawing_that_fills_its_frame_stays_where_it_is():
    seen = prepare(letter(size=(280, 280), box=(20, 20, 140, 140)), INK)[0]
    rows, columns = np.nonzero(seen > 127)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 13, 2, 13)


def test_a_speck_in_a_large_photo_is_not_enlarged():
    photo = np.full((1000, 1000), 255, np.uint8)
    photo[500, 500] = 0
    with pytest.raises(Unreadable, match="nothing is drawn on it that shows at 28 pixels"):
        prepare(Image.fromarray(photo), INK)


def test_hairlines_in_a_large_photo_show():
    photo = np.full((1000, 1000), 255, np.uint8)
    photo[100:900, 300] = photo[899, 300:800] = 0
    seen = prepare(Image.fromarray(photo), INK)[0]
    assert seen.max() == 255
    assert (seen[4:24, 7:9].max(axis=1) > 127).all()
    assert (seen[24:26, 9:22].max(axis=0) > 127).all()


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_page_has_no_ink(grey):
    with pytest.raises(Unreadable, match="nothing is drawn"):
        prepare(Image.new("L", (50, 50), grey), INK)
    faint = np.full((50, 50), grey, np.uint8)
    faint[20:30, 20:30] = min(grey + 10, 255)
    with pytest.raises(Unreadable, match="nothing is drawn"):
        prepare(Image.fromarray(faint), INK)


@given(
    pixels=stnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30))),
    size=st.integers(4, 30),
)
def test_ink_of_any_picture_is_a_picture_or_refused(pixels, size):
    how = Preprocessing(size=size, polarity="ink")
    if np.ptp(pixels.astype(int)) < 24:  # every pixel is near the border's colour
        with pytest.raises(Unreadable, match="nothing is drawn"):
            prepare(Image.fromarray(pixels), how)
        return
    try:
        seen = prepare(Image.fromarray(pixels), how)
    except Unreadable:  # noise all over, which is the grain of the paper
        return
    assert seen.shape == (1, size, size)
    assert seen.max() == 255
