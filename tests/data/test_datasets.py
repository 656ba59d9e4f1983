import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from quickstudy.data import Episodes, Preprocessing, from_dataset
from quickstudy.data.pictures import from_pictures
from quickstudy.errors import DataError


class Faces(Dataset):
    """torchvision's convention: `targets`, `classes`, and items that are decoded when asked for."""

    def __init__(self, targets, classes=("ant", "bee", "cat"), size=6, mode="L"):
        self.targets, self.classes, self.size, self.mode = targets, list(classes), size, mode
        self.read = []

    def __len__(self):
        return len(self.read_targets)

    @property
    def read_targets(self):
        return np.asarray(self.targets)

    def __getitem__(self, index):
        self.read.append(index)
        side = self.size[index] if isinstance(self.size, list) else self.size
        colour = index if self.mode in ("L", "P") else (index,) * len(self.mode)
        return Image.new(self.mode, (side, side), colour), int(self.read_targets[index])


@pytest.mark.parametrize("form", [list, np.array, torch.tensor, tuple])
def test_images_by_torchvisions_convention(form):
    faces = Faces(form([2, 0, 1, 0]))
    pool = from_dataset(faces)
    assert pool.names == ("ant", "bee", "cat")
    assert pool.images.shape == (4, 1, 6, 6)
    assert pool.images.dtype == torch.uint8
    assert pool.images[:, 0, 0, 0].tolist() == [1, 3, 2, 0]
    assert faces.read == [0, 1, 2, 3], "every item is read once"


def test_colour_images_are_channels_first():
    assert from_dataset(Faces([0, 1, 2], mode="RGB")).images.shape == (3, 3, 6, 6)
    palette = from_dataset(Faces([0, 1, 2], mode="P")).images
    assert palette.shape == (3, 3, 6, 6)


def test_a_transform_makes_shapes_alike():
    faces = Faces([0, 1, 1], size=[6, 9, 6], mode="RGB")
    with pytest.raises(DataError, match=r"got \[3, 6, 6\] uint8 \(item 0\) and \[3, 9, 9\] uint8 "):
        from_dataset(faces)
    how = Preprocessing(size=8, channels=3)
    pool = from_dataset(faces, transform=lambda image: from_pictures([image], how)[0])
    assert pool.images.shape == (3, 3, 8, 8)
    assert pool.names == ("ant", "bee")


def test_subsets_and_subsets_of_subsets():
    faces = Faces([2, 0, 1, 0, 2])
    pool = from_dataset(Subset(faces, [4, 1, 3]))
    assert pool.names == ("ant", "cat")
    assert pool.images[:, 0, 0, 0].tolist() == [1, 3, 4]
    assert faces.read == [4, 1, 3]
    inner = from_dataset(Subset(Subset(faces, [4, 1, 3]), [0, 2]))
    assert inner.images[:, 0, 0, 0].tolist() == [3, 4]


def test_without_targets_one_pass_is_made():
    x = torch.arange(12.0).reshape(6, 2)
    labels = torch.tensor([5, 3, 5, 3, 3, 9])
    pool = from_dataset(TensorDataset(x, labels))
    assert pool.names == ("3", "5", "9")
    assert pool.counts.tolist() == [3, 2, 1]
    assert pool.images.tolist() == x[[1, 3, 4, 0, 2, 5]].tolist()
    part = from_dataset(Subset(TensorDataset(x, labels), [5, 0]))
    assert part.images.tolist() == x[[0, 5]].tolist()
    pairs = from_dataset([([1.0, 2.0], "b"), (np.array([3.0, 4.0]), "a")])
    assert pairs.names == ("a", "b")
    assert pairs.images.tolist() == [[3, 4], [1, 2]]


def test_a_data_set_becomes_tasks():
    faces = Faces([i % 3 for i in range(30)])
    task = Episodes(from_dataset(faces), way=3, shot=1, queries=2).sample(
        4, torch.Generator().manual_seed(0)
    )
    assert task.query.x.shape == (4, 6, 1, 6, 6)
    assert (task.query.x * 255).round().unique().numel() > 6


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


class Short(Faces):
    def __len__(self):
        return 5


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "must be map-style: len(dataset), and dataset[i] an (x, label) for i from 0"),
        ({0: (1.0, 0)}, "map-style"),
        ("photos", "map-style"),
        ((pair for pair in [(1.0, 0)]), "got generator"),
        ([], "needs at least one item, got an empty list"),
        (Short([0, 1, 2]), "targets must be one label an item, got [3] for 5 items"),
        (Subset(Short([0, 1, 2]), [0, 1]), "got [3] for 5 items"),
        (Faces([0, 3, 1]), "targets must lie in 0..2 for 3 classes, got 0..3"),
        (Faces([0.5, 1.0, 1.0]), "targets must be strings or integers, got float64"),
        (Faces([0, 1, 1], mode="RGBA"), "without transparency, got mode 'RGBA' (item 0)"),
        (Faces([0, 1, 1], mode="F"), "got mode 'F' (item 0)"),
        ([torch.zeros(2), torch.zeros(2)], "an item must be (x, label), got a Tensor (item 0)"),
        ([(1.0, 0), (1.0, 0, 0)], "got a tuple of 3 (item 1)"),
        ([([1.0], 0), (["a"], 1)], "got [1] float64 (item 0) and [1] <U1 (item 1)"),
        ([([np.nan], 0), ([1.0], 1)], "x must be finite, got NaN or infinity in 1 of 2 rows"),
        ([([1.0], 0.5), ([1.0], 1.5)], "targets must be strings or integers, got float64"),
        ([([1.0], torch.zeros(2)), ([1.0], torch.ones(2))], "targets must be [n], one a row"),
    ],
)
def test_what_is_no_data_set(dataset, message):
    with pytest.raises(DataError) as error:
        from_dataset(dataset)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_targets_are_found_before_items_are_read():
    for faces in (Short([0, 1, 2]), Faces([0.5, 1.0, 1.0])):
        with pytest.raises(DataError):
            from_dataset(faces)
        assert faces.read == []
