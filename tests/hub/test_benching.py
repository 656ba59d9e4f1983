"""The benches: what they report, not how fast this machine is."""

import pytest
import torch

from quickstudy.hub.benching import in_turn, made_up_pool, seconds


def test_the_sampler_bench_reports_speed_and_share(call):
    said = call("bench", "sampler", "--repeats", "2", "--batch", "2", "--threads", "1", "--json")
    assert said.code == 0, said.err
    found = said.json
    assert found["tasks_per_second"] > 0
    assert 0 < found["share_of_protonet_step"] < 1
    for figure in ("tasks_per_second", "share_of_protonet_step"):
        low, high = found["spread"][figure]
        assert low <= found[figure] <= high
    assert found["by_batch"]["2"] == found["tasks_per_second"]
    assert found["by_batch"].keys() == {"1", "2", "4", "16", "64"}
    assert found["threads"] == {"sampler": 1, "step": 1}
    assert found["torch"] == torch.__version__
    assert found["pool"] == {"classes": 1028, "images_a_class": 20, "side": 28, "made_up": True}
    assert (found["batch"], found["ways"], found["shots"], found["queries"]) == (2, 5, 1, 15)
    # One step's two tasks at that speed take that share of it, repeat by repeat.
    share = 2 / found["tasks_per_second"] / found["step_seconds"]
    low, high = found["spread"]["share_of_protonet_step"]
    assert low / 3 < share < 3 * high


def test_people_read_two_figures(call):
    said = call("bench", "sampler", "--repeats", "1", "--batch", "1", "--threads", "1")
    assert said.code == 0, said.err
    assert "5-way 1-shot tasks of 28x28 images, 15 queries a class, 1 at a time" in said.out
    assert "on one core" in said.out
    assert "of ProtoNet's" in said.out
    assert all(len(line) <= 100 for line in said.out.splitlines())


def test_the_bench_lists_itself(call):
    said = call("bench", "--help")
    assert said.code == 0
    assert "quickstudy bench sampler" in said.out
    assert "Examples:" in call("bench", "sampler", "--help").out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "0"], "--batch must be at least 1, got 0"),
        (["--repeats", "-1"], "--repeats must be at least 1, got -1"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--queries", "20"], "has 20 images, 1 shot + 20 queries need 21"),
        (["--ways", "2000"], "2000-way tasks need 2000 classes, got 1028"),
        (["--shots", "0"], "shot must be a whole number >= 1"),
        (["--batch", "many"], "got 'many'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(call, options, message):
    said = call("bench", "sampler", *options)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err


def test_what_is_compared_runs_in_turn():
    ran = []

    def work(name):
        return lambda: ran.append(name) or float(len(ran))

    assert in_turn({"a": work("a"), "b": work("b")}, repeats=2) == {"a": [3, 5], "b": [4, 6]}
    assert "".join(ran) == "ababab"


def test_threads_are_put_back():
    before = torch.get_num_threads()
    during = []
    assert seconds(lambda: during.append(torch.get_num_threads()), calls=2, threads=3) > 0
    assert during == [3, 3]
    assert torch.get_num_threads() == before


def test_the_made_up_pool_comes_from_its_seed():
    one, again, other = (made_up_pool(seed) for seed in (0, 0, 1))
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    assert one.images.dtype == torch.uint8
    assert one.counts.tolist() == [20] * 1028
