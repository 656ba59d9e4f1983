"""What requests do to each other, and to the service: nothing."""

import asyncio
import base64
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
import torch

import quickstudy as qs
from hub.asking import adapted, png, refused, some
from hub.servers import process, serving
from quickstudy import learners, nets
from quickstudy.core.tasks import leaves
from quickstudy.hub.service import inference, routes, runs
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.served import Served

PICTURES = [base64.b64encode(png(seed)).decode() for seed in range(3)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A model that looks at nothing but pixels, so that their scale matters."""
    folder = tmp_path_factory.mktemp("raw") / "model"
    reading = {"size": 20, "channels": 1, "polarity": "ink"}
    net = nets.Conv4(width=8, norm="none", size=20)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        qs.save(folder, learners.ProtoNet(net), input_shape=[1, 20, 20], preprocessing=reading)
    return folder


def pixels(count):
    return torch.rand(count, 1, 20, 20, generator=torch.Generator().manual_seed(0)).tolist()


def test_images_are_answered_as_alone_where_numbers_wait_beside_them(raw, monkeypatch):
    embed, kinds = Served.embed, []

    def slow(self, x):
        """The first has the one thread until all the others wait."""
        kinds.append(x.dtype)
        until = time.monotonic() + 30
        while len(kinds) == 1 and running.adaptations.work.pending < 9:
            assert time.monotonic() < until
            time.sleep(0.001)
        return embed(self, x)

    def ask(number):
        body = {"images": PICTURES} if number % 2 else {"x": numbers}
        with httpx.Client(base_url=running.url, timeout=60) as http:
            made = http.post("/v1/models/m/adapt", json={**body, "labels": list("abc")}).json()
            path = f"/v1/adapted/{made['adapted_id']}/predict"
            rows = http.post(path, json=body).json()["predictions"]
            return [[row["probabilities"][c] for c in "abc"] for row in rows]

    with serving({"m": raw}, threads=1) as running, ThreadPoolExecutor(9) as pool:
        numbers = pixels(3)
        alone = [ask(0), ask(1)]
        monkeypatch.setattr(Served, "embed", slow)
        beside = list(pool.map(ask, range(9)))
    assert set(kinds) == {torch.uint8, torch.float32}
    for number, said in enumerate(beside):
        torch.testing.assert_close(
            torch.tensor(said), torch.tensor(alone[number % 2]), atol=1e-5, rtol=0
        )


def test_images_and_numbers_in_one_support_set(raw):
    with serving({"m": raw}) as service:
        served = service.adaptations.models["m"]
        body = {"images": PICTURES[:2], "labels": ["a", "b"]}
        mixed = service.http.post("/v1/models/m/adapt", json=body).json()["adapted_id"]
        more = {"x": pixels(1), "labels": ["c"]}
        assert service.http.post(f"/v1/adapted/{mixed}/extend", json=more).status_code == 200
        images = served.pictures([base64.b64decode(one) for one in PICTURES[:2]]) / 255
        body = {"x": images.tolist() + more["x"], "labels": list("abc")}
        plain = service.http.post("/v1/models/m/adapt", json=body).json()["adapted_id"]
        said = [
            service.http.post(f"/v1/adapted/{id}/predict", json={"images": PICTURES}).json()
            for id in (mixed, plain)
        ]
    for one, other in zip(*(s["predictions"] for s in said), strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_bodies_are_read_where_models_run(plain, monkeypatch):
    """Elsewhere a long one would hold up everybody, and what waits would be many times as long."""
    threads = []

    def noted(parsed, *given):
        threads.append(threading.current_thread().name)
        return parsed(*given)

    for module in (routes, inference):
        monkeypatch.setattr(module, "parsed", partial(noted, module.parsed))
    with serving(plain) as service:
        id = adapted(service.http)["adapted_id"]
        service.http.post(f"/v1/adapted/{id}/predict", json={"x": some(1)})
        service.http.post(f"/v1/adapted/{id}/extend", json={"x": some(1), "labels": ["a"]})
        tensor = {"name": "query_x", "shape": [1, 4], "datatype": "FP32", "data": some(1)[0]}
        body = {"inputs": [tensor], "parameters": {"adapted_id": id}}
        assert service.http.post("/v2/models/proto/infer", json=body).status_code == 200
    assert len(threads) == 4
    assert all(name.startswith("quickstudy-work-") for name in threads)


def test_what_a_state_holds_is_what_is_counted(plain):
    big = {"x": some(400), "labels": list("ab") * 200}
    with serving({"proto": plain["proto"]}, threads=1) as service:
        with ThreadPoolExecutor(8) as pool:
            asks = [big] * 4 + [{"x": some(2), "labels": ["a", "b"]}] * 4
            list(
                pool.map(lambda body: service.http.post("/v1/models/proto/adapt", json=body), asks)
            )
        for held in service.adaptations.states:
            learned = held.learned
            tensors = [learned.seen, learned.known.x, *leaves(learned.state)]
            for tensor in tensors:
                own = tensor.numel() * tensor.element_size()
                assert tensor.untyped_storage().nbytes() <= 2 * own


def test_extensions_of_one_state_wait_in_the_queue_too(plain, monkeypatch):
    go, adapt = threading.Event(), Served.adapt

    def held_up(self, known):
        go.wait(60)
        return adapt(self, known)

    with serving(plain, threads=1, limits=Limits(queue=3)) as service:
        id = adapted(service.http)["adapted_id"]
        monkeypatch.setattr(Served, "adapt", held_up)

        def extend(number):
            with httpx.Client(base_url=service.url, timeout=60) as http:
                body = {"x": some(1, number), "labels": ["a"]}
                answer = http.post(f"/v1/adapted/{id}/extend", json=body)
                if answer.status_code == 429:
                    go.set()
                return answer

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(extend, range(12)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        counts = service.http.get(f"/v1/adapted/{id}").json()["counts"]
        assert counts == [2 + statuses.count(200), 2]


def test_who_leaves_leaves_the_queue(plain, monkeypatch):
    go, adapt = threading.Event(), Served.adapt

    def held_up(self, known):
        go.wait(60)
        return adapt(self, known)

    monkeypatch.setattr(Served, "adapt", held_up)
    with serving(plain, threads=1) as service, ThreadPoolExecutor(1) as pool:
        work = service.adaptations.work
        first = pool.submit(adapted, service.http)
        until = time.monotonic() + 30
        while work.pending < 1:
            assert time.monotonic() < until
        for _ in range(3):
            body = {"x": some(2), "labels": ["a", "b"]}
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{service.url}/v1/models/proto/adapt", json=body, timeout=0.3)
        while work.pending > 1:
            assert time.monotonic() < until, "they are waited for no more"
            time.sleep(0.01)
        go.set()
        assert first.result()["labels"] == ["a", "b"]
        counted = service.http.get("/metrics").text
    assert 'route="/v1/models/{model}/adapt",status="499"} 3.0' in counted


def test_who_leaves_before_all_is_sent_is_no_failure(plain, caplog):
    with serving(plain) as service:
        with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as line:
            line.sendall(
                b"POST /v1/models/proto/adapt HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
            )
            time.sleep(0.2)
        until = time.monotonic() + 30
        while 'status="499"} 1.0' not in service.http.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert 'status="500"' not in service.http.get("/metrics").text
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_so_many_streams_as_were_said_though_all_come_at_once(plain, following, monkeypatch):
    monkeypatch.setattr(runs, "STREAMS", 3)
    monkeypatch.setattr(runs, "EVERY_SECONDS", 0.1)
    store, path = following
    came, go = [], threading.Barrier(12)

    def follow(url):
        go.wait(30)
        with httpx.Client(base_url=url, timeout=30) as http, http.stream("GET", path) as stream:
            came.append(stream.status_code)
            until = time.monotonic() + 30
            while len(came) < 12 and stream.status_code == 200:
                assert time.monotonic() < until
                time.sleep(0.01)

    with serving(plain, store=store) as service:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(follow, [service.url] * 12))
        assert sorted(came) == [200] * 3 + [429] * 9
        until = time.monotonic() + 30
        while service.http.get(f"{path}x").status_code != 404 or _streams(service) > 0:
            assert time.monotonic() < until, "their places are free again"
            time.sleep(0.01)


def _streams(service):
    """How many are followed, which the next that asks is told by being let in or not."""
    with service.http.stream("GET", f"/v1/runs/{'f' * 32}/events") as stream:
        return 0 if stream.status_code == 200 else 1


def test_a_stream_does_not_hold_up_the_end(plain, following):
    store, path = following
    with process(plain["proto"], store) as (server, http), http.stream("GET", path) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")
        server.send_signal(signal.SIGTERM)
        assert "event: end" not in list(lines), "the run goes on, though nobody tells of it"
        assert server.wait(15) == 0


def test_a_store_that_cannot_be_opened_is_nobodys_business(plain, tmp_path):
    with serving(plain, store=str(tmp_path / "none" / "x.sqlite")) as service:
        (tmp_path / "none").write_text("no folder")
        answer = service.http.get("/v1/runs")
    refused(answer, 503, "the store cannot be used now")
    assert str(tmp_path) not in json.dumps(answer.json())


def test_a_find_that_comes_too_late_brings_nothing_back(plain):
    from quickstudy.hub.service.adaptations import Adaptations
    from quickstudy.hub.service.problems import Refused
    from quickstudy.hub.service.work import Work
    from quickstudy.hub.wire import Inputs

    looking, go = threading.Event(), threading.Event()

    class Shelf:
        """Slow to tell what it had when it was asked."""

        def __init__(self):
            self.kept = {}

        def put(self, kept, most, before=None):
            self.kept[kept.id] = kept
            return True

        def made(self, id):
            found = self.kept.get(id)
            looking.set()
            go.wait(30)
            return found and found.created

        def get(self, id):
            return self.kept.get(id)

        def drop(self, id):
            self.kept.pop(id)

    served = Served("proto", plain["proto"], Limits(), "cpu")

    async def race():
        work = Work(2, 10)
        service = Adaptations({"proto": served}, Limits(), work, Shelf())
        known = served.labelled(served.read(Inputs(x=some(2))), ["a", "b"])
        held = await service.adapt("proto", "me", lambda _: known)
        finding = asyncio.create_task(service.find(held.id, "me"))
        await asyncio.to_thread(looking.wait, 30)
        await service.forget(held)
        go.set()
        await finding
        with pytest.raises(Refused):
            await service.find(held.id, "me")
        work.close()
        return len(service.states)

    assert asyncio.run(race()) == 0
