import gzip

import numpy as np
import pytest

from quickstudy.data.cache import write_arrays
from quickstudy.data.fashion import (
    FASHION_FILE,
    FASHION_REMOTES,
    convert_fashion,
    fashion,
    read_idx,
)
from quickstudy.errors import DataError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
HEAD = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4])


def packed(path, content):
    path.write_bytes(gzip.compress(content, 1))
    return path


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def test_files_in_mnists_format(tmp_path):
    assert idx(IMAGES).startswith(HEAD)
    assert np.array_equal(read_idx(packed(tmp_path / "a", idx(IMAGES)), (2, 3, 4)), IMAGES)
    labels = np.array([7, 1], np.uint8)
    assert read_idx(packed(tmp_path / "b", idx(labels)), (2,)).tolist() == [7, 1]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (idx(IMAGES)[:-1], "40 with its head; got 39, "),
        (idx(IMAGES) + b"!", "got 40 and more, "),
        (bytes(100_000_000), "got 40 and more, beginning with 000000"),  # a bomb: 100 kB packed
        (idx(IMAGES.reshape(2, 4, 3)), "beginning with 00000803000000020000000400000003"),
        (idx(IMAGES.astype("i1").view("u1").reshape(-1)), "beginning with 0000080100000018"),
        (b"<html>", "got 6, beginning with 3c68746d6c3e"),
    ],
)
def test_other_content(tmp_path, content, part):
    path = packed(tmp_path / "a.gz", content)
    with pytest.raises(DataError) as error:
        read_idx(path, (2, 3, 4))
    assert str(error.value).startswith(f"{path} must hold bytes [2, 3, 4] in MNIST's format, ")
    assert part in str(error.value)


def test_what_is_no_gzip_file(tmp_path):
    path = tmp_path / "a.gz"
    whole = gzip.compress(idx(IMAGES))
    for content in (idx(IMAGES), b"", whole[:9], whole[:-12], whole[:20] + b"????" + whole[24:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.gz (is no whole gzip file|must hold)"):
            read_idx(path, (2, 3, 4))
    path.unlink()
    with pytest.raises(DataError, match=r"is no whole gzip file: .*No such file"):
        read_idx(path, (2, 3, 4))


def test_without_the_file_the_error_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match="`quickstudy data prepare fashion` fetches it") as error:
        fashion(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_the_published_files_become_the_real_file(need, tmp_path):
    """From files as they are published, made from the real file's own numbers."""
    with np.load(need.data(FASHION_FILE), allow_pickle=False) as real:
        arrays = {name: real[name] for name in real.files}
    files = {
        remote.name: packed(tmp_path / remote.name, idx(arrays[name]))
        for remote, name in zip(FASHION_REMOTES, ("images", "labels"), strict=True)
    }
    made = convert_fashion(files)
    assert set(made) == set(arrays)
    for name, array in arrays.items():
        assert made[name].dtype == array.dtype
        assert np.array_equal(made[name], array)


def test_the_real_file_becomes_a_pool(need):
    need.data(FASHION_FILE)
    pool = fashion()
    assert pool.names[0] == "T-shirt/top"
    assert pool.counts.tolist() == [1000] * 10
    assert pool.images.shape == (10_000, 1, 28, 28)
    assert float(pool.images[:, 0, 0, 0].float().mean()) < 1  # the ground is black
    trousers = pool.images[1000:2000].float().mean((0, 1))
    assert float(trousers[14:, 14].mean()) < float(trousers[14:, 10].mean())  # between the legs


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda a: a.pop("labels"), "lacks labels"),
        (lambda a: a.update(images=a["images"][:, :9]), "got uint8 [20, 9, 28]"),
        (lambda a: a.update(labels=a["labels"] + 1), "labels must lie in 0..9"),
        (lambda a: a.update(labels=a["labels"][1:]), "images and labels must agree"),
    ],
)
def test_another_layout_is_refused(tmp_path, change, part):
    arrays = {
        "images": np.zeros((20, 28, 28), np.uint8),
        "labels": (np.arange(20) % 10).astype(np.uint8),
        "class_name": np.array([f"kind {number}" for number in range(10)]),
    }
    write_arrays(tmp_path / FASHION_FILE, arrays)
    assert fashion(tmp_path).classes == 10
    change(arrays)
    write_arrays(tmp_path / FASHION_FILE, arrays)
    with pytest.raises(DataError) as error:
        fashion(tmp_path)
    assert part in str(error.value)
