import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.data.images import read_images
from quickstudy.data.pictures import from_pictures
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError

HOW = [
    Preprocessing(size=12),
    Preprocessing(size=12, channels=3),
    Preprocessing(size=12, polarity="ink"),
]


def picture(mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8), "RGBA")
    if mode.startswith("I"):
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return (
        image.convert("RGB").convert(mode)
        if mode in ("CMYK", "HSV", "YCbCr")
        else image.convert(mode)
    )


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_an_image_in_memory_gives_what_its_file_gives(tmp_path, mode, how):
    image = picture(mode)
    file = tmp_path / ("picture.png" if mode not in ("CMYK", "YCbCr") else "picture.tif")
    image.save(file)
    assert torch.equal(from_pictures([image], how), read_images([file], how))


@pytest.mark.parametrize("how", HOW, ids=str)
def test_an_array_gives_what_its_file_gives(tmp_path, how):
    image = picture("RGB")
    image.save(tmp_path / "picture.png")
    array = np.asarray(image)
    for form in (array, array.transpose(2, 0, 1), array / 255, torch.from_numpy(array.copy())):
        assert torch.equal(from_pictures([form], how), read_images([tmp_path / "picture.png"], how))


def test_the_orientation_that_a_camera_noted_is_applied(tmp_path):
    image = picture("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        pixels = from_pictures([turned], HOW[0])
    assert torch.equal(pixels, read_images([tmp_path / "turned.png"], HOW[0]))
    assert not torch.equal(pixels, from_pictures([image], HOW[0]))


def test_pictures_and_files_go_together_and_none_is_changed(tmp_path):
    image, array = picture("RGB"), np.full((5, 5), 200.0) / 255
    image.save(tmp_path / "picture.png")
    before = image.copy(), array.copy()
    pixels = from_pictures([image, array, tmp_path / "picture.png"], HOW[0])
    assert pixels.shape == (3, 1, 12, 12)
    assert torch.equal(pixels[0], pixels[2])
    assert pixels[1].unique().tolist() == [200]
    assert image == before[0]
    assert (array == before[1]).all()


def test_the_one_error_names_what_is_wrong_and_where():
    bad = [np.zeros((5, 5, 7))] * 7
    with pytest.raises(
        DataError, match=r"7 of 8 are no pictures: number 2 \(.* and 2 more"
    ) as error:
        from_pictures([np.zeros((5, 5)), *bad], HOW[0])
    assert "\n" not in str(error.value)
