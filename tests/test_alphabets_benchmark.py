"""Two ways to part Omniglot: the table of their figures, and what the second one is."""

from types import SimpleNamespace

import pytest
import torch
from benchmarks import alphabets

from quickstudy.data.omniglot import OMNIGLOT_FILE


def test_each_split_has_a_line_and_one_for_its_control():
    def row(data, way, shot, accuracy):
        control = {"accuracy": accuracy / 2, "interval95": 0.01}
        return {"data": data, "way": way, "shot": shot, "accuracy": accuracy, "interval95": 0.002,
                "control": control}  # fmt: skip

    rows = [row(data, *at, accuracy) for data, accuracy in (("omniglot-shuffled", 0.9),
            ("omniglot", 0.8)) for at in alphabets.SETTINGS]  # fmt: skip
    rows[0]["accuracy"] = 0.95
    same = " | 45.00 ± 1.00" * 4
    assert alphabets.table(rows).splitlines() == [
        "| meta-test | 5-way 1-shot | 5-way 5-shot | 20-way 1-shot | 20-way 5-shot |",
        "|---|--:|--:|--:|--:|",
        "| of other alphabets" + " | 80.00 ± 0.20" * 4 + " |",
        "| the same, raw pixels" + " | 40.00 ± 1.00" * 4 + " |",
        "| of all alphabets, shuffled | 95.00 ± 0.20" + " | 90.00 ± 0.20" * 3 + " |",
        f"| the same, raw pixels{same} |",
        "",
        "MAML, 4,000 tasks, inductive: accuracy in per cent with 95 % interval over 400 meta-test "
        "tasks, 5 queries a class, 10 inner steps at a rate of 0.01. Seed 0.",
    ]


@pytest.fixture(scope="module")
def shuffled(need):
    need.data(OMNIGLOT_FILE)
    return alphabets.open_shuffled(SimpleNamespace(device=torch.device("cpu")))


def test_shuffled_parts_are_as_large_and_share_alphabets_but_no_character(shuffled):
    train, validation, test = (shuffled.pools[part] for part in ("train", "validation", "test"))
    assert [part.classes for part in (train, validation, test)] == [1028, 172, 423]
    assert len({*train.names, *validation.names, *test.names}) == 1623
    assert set(test.groups) <= set(train.groups)
    assert len(set(test.groups)) > 40  # of 50: it is not by alphabet that they are parted
    assert shuffled.name == "omniglot-shuffled"


def test_it_is_shuffled_the_same_way_again(shuffled):
    again = alphabets.open_shuffled(SimpleNamespace(device=torch.device("cpu")))
    assert [pool.names for pool in again.pools.values()] == [
        pool.names for pool in shuffled.pools.values()
    ]
