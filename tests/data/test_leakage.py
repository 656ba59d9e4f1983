import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import quickstudy as qs
from quickstudy.data import Splits, from_arrays, shared_images, split_classes
from quickstudy.data.images import folder_splits
from quickstudy.errors import DataError


def pictures(n, seed=0, shape=(1, 6, 6)):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8))


def pool(images, labels, prefix=""):
    found = sorted(set(labels))
    names = [f"{prefix}{label}" for label in found]
    return qs.Pool.from_labels(images, torch.tensor([found.index(x) for x in labels]), names)


def test_what_two_pools_share_is_named_and_counted():
    images = pictures(9)
    train = pool(images[:6], [0, 0, 1, 1, 2, 2], "a")
    test = pool(torch.cat([images[[4, 0, 1, 1]], images[6:]]), [0, 0, 0, 1, 1, 2, 3], "b")
    assert [tuple(found) for found in shared_images(train, test)] == [
        ("a0", "b0", 2), ("a0", "b1", 1), ("a2", "b0", 1),
    ]  # fmt: skip
    with pytest.raises(
        DataError, match=r"share no image, got 2 of 'b0' in 'a0', 1 of 'b1' in 'a0'"
    ):
        qs.check_leakage(train, test)
    qs.check_leakage(train, pool(images[6:], [0, 1, 2], "b"))
    with pytest.raises(DataError, match="share no class, got 'a0', 'a2' in both"):
        qs.check_leakage(train, pool(pictures(2, seed=1), [0, 2], "a"))


@given(st.data())
def test_it_finds_what_a_plain_search_finds(data):
    rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)
    kinds = data.draw(st.sampled_from([torch.uint8, torch.float32, torch.int8]))
    pools = []
    for prefix in "ab":
        told = data.draw(rows)
        images = torch.tensor(told, dtype=kinds)
        labels = data.draw(st.lists(st.integers(0, 2), min_size=len(told), max_size=len(told)))
        pools.append(pool(images, labels, prefix))
    wanted = {}
    first = {}
    for row, label in zip(pools[0].images.tolist(), pools[0].labels.tolist(), strict=True):
        first.setdefault(tuple(row), pools[0].names[label])
    for row, label in zip(pools[1].images.tolist(), pools[1].labels.tolist(), strict=True):
        if tuple(row) in first and row[0] != row[1]:  # a row of one value says nothing
            key = first[tuple(row)], pools[1].names[label]
            wanted[key] = wanted.get(key, 0) + 1
    assert {found[:2]: found.images for found in shared_images(*pools)} == wanted


def test_blank_pages_are_no_leak_and_rows_of_other_kinds_are_not_compared():
    blank = torch.full((1, 1, 6, 6), 255, dtype=torch.uint8)
    train = pool(torch.cat([pictures(2), blank]), [0, 0, 1], "a")
    test = pool(torch.cat([pictures(2, seed=1), blank]), [0, 0, 1], "b")
    Splits.disjoint(train, test, pool(pictures(1, seed=2), [0], "c"))
    copies = pool(pictures(2).float(), [0, 0], "d")
    assert shared_images(train, copies) == []


def test_splits_refuse_pictures_on_both_sides_and_say_all_of_it_at_once():
    images = pictures(30)
    parts = [pool(images[i : i + 10], [0] * 5 + [1] * 5, name) for i, name in ((0, "a"), (10, "b"))]
    last = pool(torch.cat([images[20:27], images[3:5], images[10:11]]), [0] * 5 + [1] * 5, "c")
    with pytest.raises(
        DataError,
        match=r"^train and test must share no image, got 2 of 'c1' in 'a0'; "
        r"validation and test must share no image, got 1 of 'c1' in 'b0'$",
    ):
        Splits.disjoint(*parts, last)


def test_many_pairs_are_counted():
    images = pictures(8)
    train, test = pool(images, list(range(8)), "a"), pool(images, list(range(8)), "b")
    with pytest.raises(DataError, match=r"1 of 'b4' in 'a4' and 3 more$"):
        qs.check_leakage(train, test)


def test_equal_features_may_be_a_coincidence_but_are_found_on_request():
    rows = np.tile([[0.0, 1.0], [1.0, 0.0]], (6, 1))
    whole = from_arrays(rows, np.repeat(np.arange(6), 2))
    parts = split_classes(whole)
    assert parts.train.classes == 4
    with pytest.raises(DataError, match="train and test must share no image"):
        qs.check_leakage(parts.train, parts.test)


def test_a_photo_in_two_class_folders_that_fall_on_either_side(tmp_path):
    for number, name in enumerate("abcdef"):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(pictures(3, seed=number, shape=(8, 8))):
            Image.fromarray(picture.numpy()).save(tmp_path / name / f"{i}.png")
    parts = folder_splits(tmp_path)
    held, other = parts.train.names[0], parts.test.names[0]
    with Image.open(tmp_path / held / "1.png") as image:
        image.save(tmp_path / other / "again.bmp")
    with pytest.raises(DataError, match=f"train and test .* got 1 of '{other}' in '{held}'"):
        folder_splits(tmp_path)


def test_the_collections_share_nothing(need):
    need.data("omniglot_28.npz")
    parts = qs.omniglot()  # opening it is the check
    assert [shared_images(parts[i], parts[j]) for i, j in ((0, 1), (0, 2), (1, 2))] == [[]] * 3
    # One drawing of the whole collection stands twice, in one class of meta-train.
    again = shared_images(parts.train, parts.train)
    assert sum(found.images for found in again) == len(parts.train.images)
    assert len({bytes(row) for row in parts.train.images.flatten(1).numpy()}) == 20559
