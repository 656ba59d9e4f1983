import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from quickstudy.data.images import (
    folder_classes,
    folder_preprocessing,
    folder_splits,
    image_folder,
    read_images,
)
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError

GREY = Preprocessing(size=8, channels=1)


def save(path, value=0, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three classes of 2, 3 and 4 grey images; class i's image j is 10 i + j all over."""
    for kind, name in enumerate(["ant", "bee", "Cat"]):
        for image in range(2 + kind):
            save(tmp_path / name / f"{image}.png", 10 * kind + image)
    return tmp_path


def test_a_folder_becomes_a_pool(folder):
    pool = image_folder(folder)
    assert pool.names == ("Cat", "ant", "bee")
    assert pool.counts.tolist() == [4, 2, 3]
    assert pool.images.shape == (9, 1, 8 * 2, 8 * 2)  # 16 is the smallest side of its own accord
    assert pool.images.dtype == torch.uint8
    assert pool.images[:, 0, 0, 0].tolist() == [20, 21, 22, 23, 0, 1, 10, 11, 12]
    assert torch.equal(image_folder(folder, GREY).images[:, 0, 7, 7], pool.images[:, 0, 7, 7])


def test_hidden_files_litter_and_loose_files_are_passed_over(folder):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (folder / "ant" / name).write_bytes(b"\0")
    (folder / ".git").mkdir()
    (folder / "__MACOSX").mkdir()
    (folder / "README.md").write_text("read me")
    (folder / "ant" / "more").mkdir()
    assert image_folder(folder).counts.tolist() == [4, 2, 3]
    assert folder_classes(folder) == [3]


def test_links_are_followed(folder, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    save(away / "dog" / "0.png")
    save(away / "dog" / "1.png")
    (folder / "dog").symlink_to(away / "dog")
    assert "dog" in image_folder(folder).names


def test_unreadable_files_are_named_in_one_error(folder):
    (folder / "ant" / "notes.txt").write_text("no image")
    whole = (folder / "bee" / "0.png").read_bytes()
    (folder / "bee" / "0.png").write_bytes(whole[:40])
    with pytest.raises(DataError) as error:
        image_folder(folder)
    said = str(error.value)
    assert said.startswith("2 of 10 files are no images: ")
    assert str(folder / "ant" / "notes.txt") in said
    assert str(folder / "bee" / "0.png") in said
    assert "\n" not in said


def test_many_unreadable_files_are_counted(folder):
    for number in range(9):
        (folder / "ant" / f"{number}.txt").write_text("no image")
    with pytest.raises(DataError, match=r"^9 of 18 files are no images: .* and 4 more$") as error:
        image_folder(folder)
    assert str(error.value).count(".txt") == 5


def test_only_unreadable_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_text("no image")
    with pytest.raises(DataError, match="4 of 4 files are no images"):
        image_folder(tmp_path)


def test_folders_that_hold_no_classes(tmp_path):
    with pytest.raises(DataError, match="no such folder of class folders: "):
        image_folder(tmp_path / "none")
    file = save(tmp_path / "file.png")
    with pytest.raises(DataError, match="no such folder"):
        image_folder(file)
    with pytest.raises(DataError, match="at least 2 class folders of images, got 0 folders and 1"):
        image_folder(tmp_path)
    save(tmp_path / "one" / "0.png")
    with pytest.raises(DataError, match="got 1 folders and 1 files"):
        image_folder(tmp_path)


def test_classes_with_too_few_images(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"class 'empty' in .* has 0 images, needs at least 2"):
        image_folder(folder)
    save(folder / "empty" / "0.png")
    with pytest.raises(DataError, match=r"class 'empty' in .* has 1 images, needs at least 2"):
        image_folder(folder)
    assert image_folder(folder, at_least=1).counts.tolist() == [4, 2, 3, 1]
    with pytest.raises(DataError, match=r"class 'ant' in .* has 2 images, needs at least 3"):
        image_folder(folder, at_least=3)


def test_folders_in_class_folders_are_spoken_of(folder):
    save(folder / "nested" / "inner" / "0.png")
    with pytest.raises(DataError, match=r"has 0 images \(but 1 folders\)"):
        image_folder(folder)


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match=r"the folder .* cannot be read: Permission denied"):
        image_folder(folder)


def test_the_preprocessing_of_a_folder(tmp_path):
    sizes = [(20, 30), (40, 10), (50, 50), (300, 200), (33, 33)]
    for number, size in enumerate(sizes):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", size=size)
    assert folder_preprocessing(tmp_path) == Preprocessing(size=40, channels=1)
    save(tmp_path / "a" / "grey.png", (9, 9, 9), mode="RGB")
    assert folder_preprocessing(tmp_path).channels == 1
    save(tmp_path / "b" / "red.png", (9, 0, 0), mode="RGB")
    assert folder_preprocessing(tmp_path).channels == 3
    assert folder_preprocessing(tmp_path, polarity="ink").channels == 1
    wanted = Preprocessing(size=10, channels=1, polarity="ink")
    assert folder_preprocessing(tmp_path, size=10, channels=1, polarity="ink") == wanted
    assert image_folder(tmp_path).images.shape == (7, 3, 33, 33)


def test_large_photos_are_made_small(tmp_path):
    for name in ("a/0", "a/1", "b/0", "b/1"):
        save(tmp_path / f"{name}.jpg", (10, 20, 30), size=(640, 480), mode="RGB")
    assert image_folder(tmp_path).images.shape == (4, 3, 84, 84)


@pytest.mark.parametrize(("asked", "said"), [({"size": 2}, "size"), ({"channels": 2}, "channels")])
def test_a_preprocessing_that_cannot_be(folder, asked, said):
    with pytest.raises(DataError, match=f"^{said} cannot be 2: ") as error:
        folder_preprocessing(folder, **asked)
    assert "\n" not in str(error.value)


def test_read_images_takes_paths_and_open_files(folder):
    path = folder / "bee" / "2.png"
    images = read_images([path, str(path), io.BytesIO(path.read_bytes())], GREY)
    assert images.shape == (3, 1, 8, 8)
    assert bool((images == 12).all())
    with pytest.raises(DataError, match="at least one file, got none"):
        read_images([], GREY)
    with pytest.raises(
        DataError, match=r"1 of 2 files are no images: image 2 \(no image that can be read\)"
    ):
        read_images([path, io.BytesIO(b"words")], GREY)


def test_an_empty_drawing_is_named(folder):
    how = Preprocessing(size=8, polarity="ink")
    with pytest.raises(DataError, match=r"Cat.*0\.png \(nothing is drawn on it.*"):
        image_folder(folder, how)


def test_folder_splits_at_random_by_class(tmp_path):
    for name in range(20):
        for image in range(2):
            save(tmp_path / f"{name:02}" / f"{image}.png", name)
    splits = folder_splits(tmp_path, GREY)
    assert [part.classes for part in splits] == [10, 5, 5]
    assert [part.classes for part in folder_splits(tmp_path, GREY, classes_each=2)] == [14, 3, 3]
    for part in splits:
        for row, label in zip(part.images[:, 0, 0, 0].tolist(), part.labels.tolist(), strict=True):
            assert part.names[label] == f"{row:02}"
    assert folder_splits(tmp_path, GREY, seed=1).test.names != splits.test.names


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_folder_splits_as_the_folder_is_split(tmp_path, validation):
    for part in ("train", validation, "test"):
        for name in ("a", "b"):
            for image in range(2):
                save(tmp_path / part / f"{part}-{name}" / f"{image}.png", size=(30, 30))
    save(tmp_path / "test" / "test-b" / "2.png", (250, 0, 0), mode="RGB")
    assert folder_classes(tmp_path) == [2, 2, 2]
    splits = folder_splits(tmp_path)
    assert splits.train.names == ("train-a", "train-b")
    assert splits.validation.names == (f"{validation}-a", f"{validation}-b")
    assert splits.test.names == ("test-a", "test-b")
    assert splits.train.images.shape == (4, 3, 30, 30)  # colour anywhere is colour everywhere
    assert folder_preprocessing(tmp_path) == Preprocessing(size=30, channels=3)
    assert folder_splits(tmp_path, GREY).test.images.shape == (5, 1, 8, 8)
    with pytest.raises(DataError, match="no such folder of class folders"):
        folder_splits(tmp_path / "none")


def test_split_folders_that_share_a_class(tmp_path):
    for part in ("train", "val", "test"):
        for name in ("a", "b", part):
            for image in range(2):
                save(tmp_path / part / name / f"{image}.png")
    with pytest.raises(DataError, match="train and validation must share no class, got 'a', 'b'"):
        folder_splits(tmp_path)


def test_a_folder_that_holds_only_some_parts(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            save(tmp_path / part / name / "0.png")
    for read in (folder_splits, folder_classes):
        with pytest.raises(DataError, match=r"hold train, val and test, or .*only test, train"):
            read(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        for image in range(2):
            save(tmp_path / name / f"{image}.png")
    assert sorted(n for part in folder_splits(tmp_path) for n in part.names) == [
        "bus",
        "car",
        "train",
    ]


def test_two_classes_cannot_be_split(folder):
    (folder / "ant" / "0.png").unlink()
    (folder / "ant" / "1.png").unlink()
    (folder / "ant").rmdir()
    with pytest.raises(DataError, match="needs 3 classes, got 2"):
        folder_splits(folder)
