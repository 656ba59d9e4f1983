import socket
import threading

import httpx
import numpy as np
import pytest

from hub.asking import adapted, png, refused, some
from hub.servers import serving
from quickstudy.hub.service.limits import Limits


@pytest.fixture(scope="module")
def tight(plain, trained):
    limits = Limits(body=20_000, ways=3, support=6, queries=5, adapted=2, image=784)
    with serving({**plain, "photos": trained}, limits=limits) as service:
        yield service


class TestLimits:
    @pytest.mark.parametrize(("ways", "status"), [(3, 201), (4, 422)])
    def test_ways(self, tight, ways, status):
        body = {"x": some(ways), "labels": list("abcd"[:ways])}
        answer = tight.http.post("/v1/models/proto/adapt", json=body)
        assert answer.status_code == status
        assert status == 201 or "at most 3 classes" in answer.json()["detail"]

    @pytest.mark.parametrize(("count", "status"), [(6, 201), (7, 422)])
    def test_support(self, tight, count, status):
        body = {"x": some(count), "labels": list("abababa"[:count])}
        answer = tight.http.post("/v1/models/proto/adapt", json=body)
        assert answer.status_code == status
        assert status == 201 or "at most 6 examples" in answer.json()["detail"]

    @pytest.mark.parametrize(("more", "status"), [(2, 200), (3, 422)])
    def test_support_with_what_was_there(self, tight, more, status):
        made = adapted(tight.http)
        path = f"/v1/adapted/{made['adapted_id']}"
        body = {"x": some(more), "labels": list("aaa"[:more])}
        assert tight.http.post(f"{path}/extend", json=body).status_code == status
        assert sum(tight.http.get(path).json()["counts"]) == 4 + (more if status == 200 else 0)

    @pytest.mark.parametrize(("count", "status"), [(5, 200), (6, 422)])
    def test_queries(self, tight, count, status):
        made = adapted(tight.http)
        answer = tight.http.post(
            f"/v1/adapted/{made['adapted_id']}/predict", json={"x": some(count)}
        )
        assert answer.status_code == status
        assert status == 200 or "at most 5 inputs" in answer.json()["detail"]

    def test_files_of_a_form(self, tight):
        files = [("ab"[i % 2], (f"{i}.png", png(i))) for i in range(7)]
        answer = tight.http.post("/v1/models/photos/adapt", files=files)
        refused(answer, 422, "at most 6 examples")
        made = tight.http.post("/v1/models/photos/adapt", files=files[:6])
        assert made.status_code == 201, made.text
        answer = tight.http.post(
            f"/v1/adapted/{made.json()['adapted_id']}/predict", files=files[:6]
        )
        refused(answer, 422, "at most 5 inputs")

    @pytest.mark.parametrize(("size", "status"), [(28, 201), (29, 422)])
    def test_pixels(self, tight, size, status):
        files = [(name, (f"{name}.png", png(1, size))) for name in "ab"]
        assert tight.http.post("/v1/models/photos/adapt", files=files).status_code == status

    @pytest.mark.parametrize(("size", "status"), [(20_000, 422), (20_001, 413)])
    def test_bodies_that_say_how_long_they_are(self, tight, size, status):
        body = b'{"x": ""' + b" " * (size - 9) + b"}"
        refused(tight.http.post("/v1/models/proto/adapt", content=body), status)

    @pytest.mark.parametrize(("size", "status"), [(20_000, 422), (20_001, 413)])
    def test_bodies_that_do_not(self, tight, size, status):
        body = b'{"x": ""' + b" " * (size - 9) + b"}"
        parts = (body[start : start + 4096] for start in range(0, size, 4096))
        answer = tight.http.post("/v1/models/proto/adapt", content=parts)
        assert "content-length" not in answer.request.headers
        refused(answer, status)

    def test_states_of_a_key(self, tight):
        first, second = adapted(tight.http, seed=1), adapted(tight.http, seed=2)
        ids = [one["adapted_id"] for one in (first, second)]
        assert tight.http.get(f"/v1/adapted/{ids[0]}").status_code == 200  # now used last
        third = adapted(tight.http, seed=3)["adapted_id"]
        refused(tight.http.get(f"/v1/adapted/{ids[1]}"), 404)
        left = tight.http.get("/v1/adapted").json()["adapted"]
        assert [one["adapted_id"] for one in left] == [third, ids[0]]

    def test_a_broken_length(self, tight):
        with socket.create_connection(("127.0.0.1", int(tight.url.rpartition(":")[2]))) as line:
            line.sendall(b"POST /v1/models/proto/adapt HTTP/1.1\r\nHost: localhost\r\n"
                         b"Content-Length: 99999999999999999999999\r\n\r\n")  # fmt: skip
            status = int(line.recv(100).split()[1])
        assert status in (400, 413)


def test_a_state_lives_as_long_as_it_was_said(plain):
    with serving(plain, limits=Limits(live=100)) as service:
        made = adapted(service.http)
        path = f"/v1/adapted/{made['adapted_id']}"
        service.clock.now += 99
        assert service.http.get(path).status_code == 200
        longer = service.http.post(f"{path}/extend", json={"x": some(1), "labels": ["a"]}).json()
        assert longer["expires_at"] > made["expires_at"]
        service.clock.now += 99
        assert service.http.get(path).status_code == 200
        service.clock.now += 1
        refused(service.http.get(path), 404)
        assert len(service.adaptations.states) == 0


def test_memory_of_all_states_is_bounded(trained):
    with serving({"photos": trained}, limits=Limits(memory=1_000_000)) as service:
        size = service.http.get("/v1/models/photos").json()["input_shape"]
        for seed in range(5):
            pixels = np.random.default_rng(seed).integers(0, 2, (500, *size)).tolist()
            body = {"x": pixels, "labels": list("ab") * 250}
            assert service.http.post("/v1/models/photos/adapt", json=body).status_code == 201
        states = service.adaptations.states
        assert states.forgotten["memory"] > 0
        assert states.bytes <= 1_000_000 or len(states) == 1
        assert states.bytes == sum(held.bytes for held in states)


class Slow:
    """Holds up a model on its way to the examples of a class "slow", until it is let go."""

    def __init__(self, served):
        self.go, self.entered = threading.Event(), threading.Semaphore(0)
        self.know, served.know = served.know, self.wait

    def wait(self, given):
        if given.labels[0] == "slow":
            self.entered.release()
            self.go.wait(30)
        return self.know(given)


def in_background(url, *labels):
    """A request that somebody else makes; its answer ends up in the list."""
    answers = []

    def ask():
        with httpx.Client(base_url=url, timeout=60) as http:
            body = {"x": some(2), "labels": list(labels)}
            answers.append(http.post("/v1/models/proto/adapt", json=body))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def until(condition):
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come to that")


def test_a_full_queue_sends_away_and_says_when_to_come_again(plain):
    with serving(plain, limits=Limits(queue=3), threads=1) as service:
        work, slow = service.adaptations.work, Slow(service.adaptations.models["proto"])
        asked = [in_background(service.url, "slow", "b")]
        slow.entered.acquire()
        asked += [in_background(service.url, "a", "b") for _ in range(3)]
        until(lambda: work.pending == 4)
        body = {"x": some(2), "labels": ["a", "b"]}
        answer = service.http.post("/v1/models/proto/adapt", json=body)
        refused(answer, 429, "3 requests are waiting")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["instance"] == "/v1/models/proto/adapt"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert 'method="POST",route="none",status="429"} 1.0' in service.http.get("/metrics").text
        assert service.http.get("/health").status_code == 200
        slow.go.set()
        for thread, _ in asked:
            thread.join(30)
        assert [answers[0].status_code for _, answers in asked] == [201] * 4
        until(lambda: work.pending == 0)


def test_what_takes_too_long_is_given_up(plain):
    with serving(plain, limits=Limits(deadline=0.3), threads=1) as service:
        slow = Slow(service.adaptations.models["proto"])
        body = {"x": some(2), "labels": ["slow", "b"]}
        refused(service.http.post("/v1/models/proto/adapt", json=body), 503, "0.3 seconds")
        body = {"x": some(2), "labels": ["a", "b"]}
        refused(service.http.post("/v1/models/proto/adapt", json=body), 503, "0.3 seconds")
        slow.go.set()
        until(lambda: service.adaptations.work.pending == 0)
        assert len(service.adaptations.states) == 0
        assert adapted(service.http)["model"] == "proto"
