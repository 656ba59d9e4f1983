"""Model work: what waits is embedded together, each gets its own, and a job fails alone."""

import asyncio
import threading

import pytest
import torch

from quickstudy.hub.service.work import TOGETHER, Wish, Work

SIZES = (1, 4, 2, 7, 3)


def started(work, call, steps=True):
    """A job of `work`, as the service starts it."""
    return work.do_steps(call) if steps else work.do(call)


class Embedder:
    """A net that remembers what it was given, and takes no numbers that are none."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh())
        self.given = []

    def embed(self, x):
        self.given.append(x)
        if x.isnan().any():
            raise ValueError("poison")
        return self.alone(x)

    def alone(self, x):
        with torch.no_grad():
            return self.net(x)


def inputs(sizes=SIZES):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 4, generator=generator) for size in sizes]


def wishing(embedder, *xs):
    """A job that wants inputs embedded, one after the other, and returns the embeddings."""

    def job():
        found = []
        for x in xs:
            found.append((yield Wish(embedder, x)))
        return found[0] if len(found) == 1 else found

    return job


def after_waiting(calls):
    """What jobs return, or raise, that all waited for the one thread there is."""

    async def run():
        work, free = Work(threads=1, queue=len(calls)), threading.Event()
        try:
            first = asyncio.ensure_future(started(work, lambda: free.wait(60), steps=False))
            jobs = [asyncio.ensure_future(started(work, call)) for call in calls]
            while work.pending < 1 + len(calls):
                await asyncio.sleep(0.001)
            free.set()
            assert await first
            return await asyncio.gather(*jobs, return_exceptions=True)
        finally:
            free.set()
            work.close()

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_what_waits_is_embedded_together_and_each_gets_its_own():
    embedder, xs = Embedder(), inputs()
    answers = after_waiting([wishing(embedder, x) for x in xs])
    assert len(embedder.given) == 1
    assert torch.equal(embedder.given[0], torch.cat(xs))
    for x, z in zip(xs, answers, strict=True):
        torch.testing.assert_close(z, embedder.alone(x), atol=1e-5, rtol=0)


def test_a_poisoned_input_fails_its_own_job_and_no_other():
    embedder, xs = Embedder(), inputs()
    xs[2][1, 0] = float("nan")
    answers = after_waiting([wishing(embedder, x) for x in xs])
    assert len(embedder.given[0]) == sum(SIZES), "they were together"
    failed = answers.pop(2)
    assert isinstance(failed, ValueError)
    assert str(failed) == "poison"
    for x, z in zip(xs[:2] + xs[3:], answers, strict=True):
        torch.testing.assert_close(z, embedder.alone(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_job_that_raises_fails_alone(when):
    embedder, xs = Embedder(), inputs()

    def failing():
        if when == "after":
            yield Wish(embedder, xs[0])
        raise KeyError("mine")

    first, *others = after_waiting([failing, *(wishing(embedder, x) for x in xs)])
    assert isinstance(first, KeyError)
    assert len(embedder.given) == 1
    for x, z in zip(xs, others, strict=True):
        torch.testing.assert_close(z, embedder.alone(x), atol=1e-5, rtol=0)


def test_models_are_not_mixed_up():
    a, b = Embedder(1), Embedder(2)
    xs = inputs()
    answers = after_waiting([wishing((a, b)[n % 2], x) for n, x in enumerate(xs)])
    assert (len(a.given), len(b.given)) == (1, 1)
    for n, (x, z) in enumerate(zip(xs, answers, strict=True)):
        torch.testing.assert_close(z, (a, b)[n % 2].alone(x), atol=1e-5, rtol=0)


def test_a_second_wish_is_embedded_together_as_well():
    embedder, xs = Embedder(), inputs()
    pairs = list(zip(xs, reversed(xs), strict=True))
    answers = after_waiting([wishing(embedder, *pair) for pair in pairs])
    assert [len(given) for given in embedder.given] == [sum(SIZES)] * 2
    for pair, found in zip(pairs, answers, strict=True):
        for x, z in zip(pair, found, strict=True):
            torch.testing.assert_close(z, embedder.alone(x), atol=1e-5, rtol=0)


def test_more_than_are_taken_at_once_are_all_answered():
    embedder, xs = Embedder(), inputs([1] * (2 * TOGETHER + 5))
    answers = after_waiting([wishing(embedder, x) for x in xs])
    assert 1 < len(embedder.given) < len(xs)
    torch.testing.assert_close(torch.cat(answers), embedder.alone(torch.cat(xs)), atol=1e-5, rtol=0)


def test_threads_that_are_free_each_take_one():
    both = threading.Barrier(2)

    def meeting(embedder, x):
        def job():
            yield Wish(embedder, x)
            both.wait(30)  # never, were both in one thread

        return job

    async def run():
        work = Work(threads=2, queue=10)
        try:
            for x in inputs([1, 1, 1]):
                calls = [meeting(embedder, x), meeting(embedder, x)]
                await asyncio.gather(*(work.do_steps(call) for call in calls))
                assert work.pending == 0
        finally:
            work.close()

    embedder = Embedder()
    asyncio.run(run())


def test_what_costs_much_is_waited_for_by_nobody():
    done, embedder = threading.Event(), Embedder()

    def costly():
        assert done.wait(30)  # until the other has been answered
        yield from ()
        return "costly"

    async def run():
        work, free = Work(threads=2, queue=10), threading.Event()
        try:
            begun = [asyncio.ensure_future(work.do(lambda: free.wait(30))) for _ in range(2)]
            first = asyncio.ensure_future(work.do_steps(costly, together=False))
            second = asyncio.ensure_future(work.do_steps(wishing(embedder, inputs([2])[0])))
            await asyncio.sleep(0.05)
            free.set()
            await asyncio.gather(*begun)
            await second
            done.set()
            return await first
        finally:
            done.set()
            work.close()

    assert asyncio.run(run()) == "costly"


def test_whoever_gives_up_while_those_before_it_begin_is_left_out():
    began, go, called = threading.Event(), threading.Event(), []

    def slow():
        began.set()
        go.wait(30)
        yield from ()

    def late():
        called.append("late")
        yield from ()

    async def run():
        work, free = Work(threads=1, queue=10), threading.Event()
        try:
            first = asyncio.ensure_future(work.do(lambda: free.wait(30)))
            both = [asyncio.ensure_future(work.do_steps(call)) for call in (slow, late)]
            await asyncio.sleep(0.05)
            free.set()
            await first
            await asyncio.to_thread(began.wait, 30)
            assert work.pending == 2
            both[1].cancel()
            await asyncio.wait([both[1]])
            assert work.pending == 1, "it makes room at once, though a thread has taken it"
            go.set()
            await both[0]
            return work.pending
        finally:
            go.set()
            work.close()

    assert asyncio.run(run()) == 0
    assert called == []
