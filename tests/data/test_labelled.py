"""Batches of labelled examples over all classes of a pool."""

import pytest
import torch

from quickstudy.core import check_targets
from quickstudy.core.tasks import stack, unstack
from quickstudy.data import Episodes, Labelled, Pool
from quickstudy.errors import DataError
from quickstudy.learners import SimpleShot
from quickstudy.nets import MLP


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(counts):
    """A pool whose row i holds i, so that an example tells which it is."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Pool.from_labels(torch.arange(len(labels)).float()[:, None], labels)


def test_each_example_has_the_label_of_its_class():
    pool = numbered([3, 1, 6, 2])
    batch = Labelled(pool, examples=50).sample(4, seeded())
    assert batch.query.x.shape == (4, 50, 1)
    assert batch.query.y.shape == (4, 50, 4)
    assert torch.equal(batch.query.y.sum(-1), torch.ones(4, 50))
    assert torch.equal(batch.query.mask, torch.ones(4, 50))
    rows = batch.query.x[..., 0].long()
    assert torch.equal(batch.query.y.argmax(-1), pool.labels[rows])
    assert set(rows.flatten().tolist()) == set(range(12))
    assert [part.shape[1] for part in batch.support] == [0, 0, 0]
    check_targets(SimpleShot(MLP(1), 4), batch)


def test_classes_are_equally_likely_and_so_are_the_examples_of_one():
    """20,000 draws of 4 classes: five standard deviations are 306; of one's 5 examples 141."""
    query = Labelled(numbered([1, 2, 20, 5]), examples=20_000).sample(1, seeded()).query
    assert (query.y[0].sum(0) - 5_000).abs().max() < 306
    held = query.x.flatten().long().bincount()[-5:]
    assert (held - 1_000).abs().max() < 141


def test_quarter_turns_are_classes_of_their_own():
    image = torch.tensor([[1, 2], [3, 4]])
    images = torch.stack([image, 10 * image])[:, None].float()
    source = Labelled(Pool.from_labels(images, torch.arange(2)), examples=64, rotations=True)
    assert source.classes == 8
    query = source.sample(1, seeded()).query
    seen = set()
    for x, y in zip(query.x[0], query.y[0].argmax(-1).tolist(), strict=True):
        assert torch.equal(x, torch.rot90(images[y % 2], y // 2, (-2, -1)))
        seen.add(y)
    assert seen == set(range(8))


def test_it_is_as_the_episodes_are():
    def bright(images, generator):
        return images + 1

    pool = Pool.from_labels(torch.rand(40, 1, 4, 4), torch.arange(40) % 5)
    tasks = Episodes(pool, (2, 4), (1, 3), 2, rotations=True, transform=bright, unlabelled=1)
    made = Labelled.of(tasks)
    assert (made.pool, made.transform, made.rotations) == (pool, bright, True)
    assert (made.examples, made.classes) == (20, 20)  # the largest task has 4 x (3 + 2)
    assert made.sample(1, seeded()).query.x.min() >= 1


def test_a_seed_draws_the_same_however_it_is_batched():
    source = Labelled(numbered([4] * 6), examples=7)
    together = source.sample(5, seeded(3))
    generator = seeded(3)
    apart = stack([batch for size in (2, 3) for batch in unstack(source.sample(size, generator))])
    assert torch.equal(together.query.x, apart.query.x)
    assert torch.equal(together.query.y, apart.query.y)
    assert not torch.equal(together.query.x, source.sample(5, seeded(4)).query.x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "a batch needs at least one example, got 0"),
        ({"examples": 2.5}, "a batch needs at least one example, got 2.5"),
        ({"rotations": True}, r"quarter turns need square images .*, got \[6, 1\]"),
    ],
)
def test_impossible_batches_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        Labelled(numbered([2, 4]), **arguments)


def test_one_class_is_none_to_tell_apart():
    with pytest.raises(DataError, match="at least 2 classes to tell apart, got 1"):
        Labelled(numbered([3]))
    with pytest.raises(DataError, match="at least one batch, got 0"):
        Labelled(numbered([3, 3])).sample(0, seeded())
