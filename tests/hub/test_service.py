import base64
import io
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from hub.servers import serving
from quickstudy import load
from quickstudy.hub.catalogue import save
from quickstudy.hub.predictor import deploy
from quickstudy.hub.service.access import decision
from quickstudy.hub.service.app import PUBLIC, make_app
from quickstudy.hub.service.limits import Limits
from quickstudy.learners import MAML, R2D2, ProtoNet
from quickstudy.nets import MLP


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Models of four numbers, by name."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    made = {"proto": ProtoNet(MLP(4, [8], 8)), "maml": MAML(MLP(4, [8], 8), steps=2),
            "ridge": R2D2(MLP(4, [8], 8))}  # fmt: skip
    for name, learner in made.items():
        save(folder / name, learner, input_shape=[4])
    return {name: folder / name for name in made}


@pytest.fixture(scope="module")
def service(plain, trained, sales_run):
    with serving({**plain, "photos": trained, "sales": sales_run}) as running:
        yield running


@pytest.fixture
def http(service):
    return service.http


def some(count, seed=0, shape=(4,)):
    return np.random.default_rng(seed).normal(size=(count, *shape)).round(4).tolist()


def adapted(http, model="proto", labels="aabb", seed=0):
    answer = http.post(
        f"/v1/models/{model}/adapt", json={"x": some(len(labels), seed), "labels": list(labels)}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    for word in words:
        assert word in told["detail"]


def png(seed=0, size=20):
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("model", ["proto", "maml", "ridge"])
def test_a_served_answer_is_the_one_in_process(http, plain, model):
    made = adapted(http, model, "abcab", seed=3)
    said = http.post(f"/v1/adapted/{made['adapted_id']}/predict", json={"x": some(7, 4)}).json()
    own = deploy(load(plain[model]), (some(5, 3), list("abcab")))
    wanted = own.probabilities(some(7, 4))
    came = torch.tensor([[p["probabilities"][c] for c in "abc"] for p in said["predictions"]])
    torch.testing.assert_close(came, wanted, atol=1e-5, rtol=0)
    assert [p["label"] for p in said["predictions"]] == own.predict(some(7, 4))
    assert said["transductive"] is False


def test_the_same_whatever_else_is_in_flight(service):
    def one(seed):
        with httpx.Client(base_url=service.url, timeout=60) as http:
            made = adapted(http, "maml", "abcab", seed)
            path = f"/v1/adapted/{made['adapted_id']}/predict"
            rows = http.post(path, json={"x": some(3, seed + 100)}).json()["predictions"]
            return [[row["probabilities"][c] for c in "abc"] for row in rows]

    alone = [one(seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(one, range(12)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_is_extended_is_as_if_adapted_to_all_at_once(http):
    made = adapted(http, "maml", "ab", seed=1)
    more = {"x": some(2, 2), "labels": ["b", "c"]}
    after = http.post(f"/v1/adapted/{made['adapted_id']}/extend", json=more).json()
    assert after["labels"] == ["a", "b", "c"]
    assert after["counts"] == [1, 2, 1]
    whole = http.post("/v1/models/maml/adapt",
                      json={"x": some(2, 1) + some(2, 2), "labels": list("abbc")})  # fmt: skip
    answers = [
        http.post(f"/v1/adapted/{id}/predict", json={"x": some(4, 5)}).json()
        for id in (made["adapted_id"], whole.json()["adapted_id"])
    ]
    assert answers[0] == answers[1]


def test_none_of_many_extensions_at_once_is_lost(service):
    made = adapted(service.http, "proto", "ab")
    path = f"/v1/adapted/{made['adapted_id']}/extend"

    def extend(label):
        with httpx.Client(base_url=service.url, timeout=60) as http:
            return http.post(path, json={"x": some(1, label), "labels": [label]}).status_code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(extend, range(10))) == {200}
    told = service.http.get(f"/v1/adapted/{made['adapted_id']}").json()
    assert set(told["labels"]) == {"a", "b", *range(10)}


def test_a_form_with_image_files_is_as_images_in_base64(http):
    files = [("alpha", ("a.png", png(1))), ("beta", ("b.png", png(2))), ("beta", ("c.png", png(3)))]
    form = http.post("/v1/models/photos/adapt", files=files)
    assert form.status_code == 201, form.text
    assert form.json()["labels"] == ["alpha", "beta"]
    assert form.json()["counts"] == [1, 2]
    wrapped = [base64.b64encode(png(seed)).decode() for seed in (1, 2, 3)]
    body = {"images": wrapped, "labels": ["alpha", "beta", "beta"]}
    in_json = http.post("/v1/models/photos/adapt", json=body).json()
    asked = [("x", ("q.png", png(4)))]
    first = http.post(f"/v1/adapted/{form.json()['adapted_id']}/predict", files=asked)
    second = http.post(f"/v1/adapted/{in_json['adapted_id']}/predict",
                       json={"images": ["data:image/png;base64," + base64.b64encode(png(4)).decode()]})  # fmt: skip
    assert first.status_code == 200
    assert first.json() == second.json()


def test_the_nearest_example_is_told_where_it_is_wanted(http):
    made = adapted(http, "proto", "aabb")
    path = f"/v1/adapted/{made['adapted_id']}/predict"
    said = http.post(path, json={"x": [some(4)[2]], "nearest": True}).json()["predictions"][0]
    assert said["nearest"] == {"example": 2, "label": "b"}
    assert "nearest" not in http.post(path, json={"x": some(1)}).json()["predictions"][0]


def test_numbers_come_and_go_in_the_tables_own_units(http, sales_run):
    info = http.get("/v1/models/sales").json()
    assert info["targets"] == "values"
    assert info["reads"] == "table"
    rows = some(4, 1, (len(info["features"]),))
    assert len(info["values"]) == 2
    sold = [[100.0 + number, 3.0 * number] for number in range(4)]
    made = http.post("/v1/models/sales/adapt", json={"x": rows, "targets": sold})
    assert made.status_code == 201, made.text
    said = http.post(f"/v1/adapted/{made.json()['adapted_id']}/predict", json={"x": rows}).json()
    from quickstudy import Platform

    wanted = Platform.load(sales_run).deploy((rows, sold)).predict(rows)
    came = [list(row["values"].values()) for row in said["predictions"]]
    np.testing.assert_allclose(came, wanted, rtol=1e-5)
    assert made.json()["labels"] is None
    assert made.json()["counts"] == [4]


def test_it_is_gone_once_forgotten(http):
    made = adapted(http)
    path = f"/v1/adapted/{made['adapted_id']}"
    assert http.delete(path).status_code == 204
    refused(http.get(path), 404, "there is no adapted model")
    refused(http.post(f"{path}/predict", json={"x": some(1)}), 404)


def test_what_it_is_made_of_is_told(http):
    models = http.get("/v1/models").json()["models"]
    assert {model["name"] for model in models} == {"proto", "maml", "ridge", "photos", "sales"}
    photos = http.get("/v1/models/photos").json()
    assert photos["reads"] == "images"
    assert photos["learner"] == "ProtoNet"
    assert 0 <= photos["metrics"]["control"]["mean"] <= 1
    assert photos["training"]["config"]["steps"] == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["x or images"]),
        ({"x": [[1, 2, 3, 4]]}, ["labels or targets"]),
        ({"x": [[1, 2, 3]] * 2, "labels": ["a", "b"]}, ["[n, 4]", "[2, 3]"]),
        ({"x": [[1, 2, 3, 4], [1, 2]], "labels": ["a", "b"]}, ["x must be", "shape"]),
        ({"x": [[1, 2, 3, "4"]] * 2, "labels": ["a", "b"]}, ["numbers"]),
        ({"x": [[1, 2, 3, 10**400]] * 2, "labels": ["a", "b"]}, ["x must be"]),
        ({"x": [[1, 2, 3, 1e300]] * 2, "labels": ["a", "b"]}, ["finite"]),
        ({"x": [[1, 2, 3, None]] * 2, "labels": ["a", "b"]}, ["x must be"]),
        ({"x": [[1, 2, 3, {}]] * 2, "labels": ["a", "b"]}, ["x must be"]),
        ({"x": [], "labels": []}, ["at least one"]),
        ({"x": [[1, 2, 3, 4]] * 2, "labels": ["a", "a"]}, ["2 classes"]),
        ({"x": [[1, 2, 3, 4]] * 2, "labels": ["a"]}, ["2 inputs", "1 labels"]),
        ({"x": [[1, 2, 3, 4]] * 2, "labels": [1, "1"]}, ["told apart"]),
        ({"x": [[1, 2, 3, 4]] * 2, "labels": ["a", ""]}, ["labels"]),
        ({"x": [[1, 2, 3, 4]] * 2, "labels": ["a", 1.5]}, ["labels"]),
        ({"x": [[1, 2, 3, 4]] * 2, "targets": [[1.0], [2.0]]}, ["labels", "classes"]),
        ({"x": [[1, 2, 3, 4]] * 2, "labels": ["a", "b"], "way": 2}, ["way"]),
        ({"images": ["aGVsbG8="] * 2, "labels": ["a", "b"]}, ["reads none"]),
        (7, ["object"]),
    ],
)  # fmt: skip
def test_examples_that_are_none_are_refused_with_the_reason(http, body, words):
    refused(http.post("/v1/models/proto/adapt", content=json.dumps(body).encode(),
                      headers={"content-type": "application/json"}), 422, *words)  # fmt: skip


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"x": [[NaN, 1, 2, Infinity]]', b"[" * 9000])  # fmt: skip
def test_what_is_no_json_is_refused(http, text):
    answer = http.post("/v1/models/proto/adapt", content=text)
    refused(answer, 400, "JSON")


def test_nan_in_json_is_refused(http):
    body = b'{"x": [[NaN, 1, 2, 3], [1, 2, 3, 4]], "labels": ["a", "b"]}'
    refused(http.post("/v1/models/proto/adapt", content=body), 422, "finite")


def test_another_kind_of_body_is_refused(http):
    answer = http.post(
        "/v1/models/proto/adapt", content=b"x=1", headers={"content-type": "text/csv"}
    )
    refused(answer, 415, "text/csv")


@pytest.mark.parametrize(
    "file",
    [b"", b"no image", png()[:60], b"PK\x03\x04" + b"\0" * 50, b"GIF89a" + b"\xff" * 30],
    ids=["empty", "text", "cut", "zip", "gif"],
)
def test_files_that_are_no_images_are_refused(http, file):
    files = [("a", ("a.png", png())), ("b", ("b.png", file))]
    refused(http.post("/v1/models/photos/adapt", files=files), 422, "image 1 cannot be used")


def test_an_image_bomb_is_refused_before_it_is_unpacked(plain, trained):
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    assert len(file.getvalue()) < 200_000
    with serving({"photos": trained}) as service:
        files = [("a", ("a.png", png())), ("b", ("b.png", file.getvalue()))]
        refused(service.http.post("/v1/models/photos/adapt", files=files), 422, "pixels")


def test_a_form_of_text_is_refused(http):
    answer = http.post("/v1/models/photos/adapt", files={"a": (None, "hello")})
    refused(answer, 422, "files")


def test_images_in_no_base64_are_refused(http):
    body = {"images": ["%%%", "aGVsbG8="], "labels": ["a", "b"]}
    refused(http.post("/v1/models/photos/adapt", json=body), 422, "image 0 is no base64")


@pytest.mark.parametrize(
    "path",
    ["/v1/models/..%2f..%2fetc", "/v1/adapted/..%2fx", "/v1/adapted/%00", "/v1/adapted/http:%2f%2fa.b",
     "/v1/models/%00", "/v1/models/" + "a" * 3000, "/v1/runs/..%2f..", "/v1/runs/file:%2f%2f%2fetc", "/nothing"],
)  # fmt: skip
def test_addresses_of_nothing(http, path):
    refused(http.get(path), 404)


def test_a_method_that_a_route_has_not(http):
    refused(http.put("/v1/models"), 405)


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


def test_memory_of_all_states_is_bounded(plain, trained):
    with serving({"photos": trained}, limits=Limits(memory=1_000_000)) as service:
        size = service.http.get("/v1/models/photos").json()["input_shape"]
        for seed in range(5):
            body = {"x": some(500, seed, size), "labels": list("ab") * 250}
            text = json.dumps(body)
            if len(text) > 2_000_000:
                pytest.skip("bodies of that size are not taken")
            assert service.http.post("/v1/models/photos/adapt", content=text).status_code == 201
        states = service.adaptations.states
        assert states.bytes <= 1_000_000 or len(states) == 1
        assert states.forgotten["memory"] > 0
        assert states.bytes == sum(held.bytes for held in states)


class Slow:
    """Holds up every job until it is let go."""

    def __init__(self):
        self.go, self.entered = threading.Event(), threading.Semaphore(0)

    def hold(self):
        self.entered.release()
        self.go.wait(30)


def test_a_full_queue_sends_away_and_says_when_to_come_again(plain):
    with serving(plain, limits=Limits(queue=3), threads=1) as service:
        slow = Slow()
        work = service.adaptations.work
        jobs = [work._pool.submit(slow.hold)]
        slow.entered.acquire()
        results = []

        def ask():
            with httpx.Client(base_url=service.url, timeout=60) as http:
                results.append(
                    http.post("/v1/models/proto/adapt", json={"x": some(2), "labels": ["a", "b"]})
                )

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(500):
            if work.pending == 4:
                break
            threading.Event().wait(0.01)
        assert work.pending == 4
        answer = service.http.post(
            "/v1/models/proto/adapt", json={"x": some(2), "labels": ["a", "b"]}
        )
        refused(answer, 429, "waiting")
        assert int(answer.headers["retry-after"]) >= 1
        assert service.http.get("/health").status_code == 200
        slow.go.set()
        for thread in threads:
            thread.join(30)
        assert [one.status_code for one in results] == [201] * 4
        assert jobs[0].done()


def test_what_takes_too_long_is_given_up(plain):
    with serving(plain, limits=Limits(deadline=0.3), threads=1) as service:
        slow = Slow()
        service.adaptations.work._pool.submit(slow.hold)
        slow.entered.acquire()
        answer = service.http.post(
            "/v1/models/proto/adapt", json={"x": some(2), "labels": ["a", "b"]}
        )
        refused(answer, 503, "0.3 seconds")
        slow.go.set()
        for _ in range(500):
            if service.adaptations.work.pending == 0:
                break
            threading.Event().wait(0.01)
        assert service.adaptations.work.pending == 0
        assert len(service.adaptations.states) == 0
        assert adapted(service.http)["model"] == "proto"


def test_only_who_sent_something_wrong_is_refused(service):
    def ask(number):
        with httpx.Client(base_url=service.url, timeout=60) as http:
            x = some(2, number)
            if number % 5 == 0:
                x[1] = x[1][:3]
            answer = http.post("/v1/models/proto/adapt", json={"x": x, "labels": ["a", "b"]})
            return answer.status_code

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(60))) == [422 if n % 5 == 0 else 201 for n in range(60)]


class TestOpenInference:
    def test_health_and_metadata(self, http):
        assert http.get("/v2/health/live").json() == {"live": True}
        assert http.get("/v2/health/ready").json() == {"ready": True}
        assert http.get("/v2").json()["name"] == "quickstudy"
        assert http.get("/v2/models/proto/ready").json()["ready"] is True
        told = http.get("/v2/models/proto").json()
        assert told["inputs"][0] == {"name": "support_x", "datatype": "FP32", "shape": [-1, 4]}
        refused(http.get("/v2/models/none"), 404)

    @pytest.mark.parametrize("flat", [True, False])
    def test_infer_with_its_support(self, http, flat):
        made = adapted(http, "ridge", "aabb")
        wanted = http.post(
            f"/v1/adapted/{made['adapted_id']}/predict", json={"x": some(3, 9)}
        ).json()
        said = http.post("/v2/models/ridge/infer", json=self.asked(flat) | {"id": "7"}).json()
        assert (said["model_name"], said["id"]) == ("ridge", "7")
        outputs = {one["name"]: one for one in said["outputs"]}
        assert outputs["label"]["data"] == [p["label"] for p in wanted["predictions"]]
        assert outputs["probabilities"]["shape"] == [3, 2]
        shares = [p["probabilities"][c] for p in wanted["predictions"] for c in "ab"]
        np.testing.assert_allclose(outputs["probabilities"]["data"], shares, atol=1e-5)

    def test_infer_with_what_was_adapted(self, http):
        made = adapted(http, "ridge", "aabb")
        (query,) = [one for one in self.asked(True)["inputs"] if one["name"] == "query_x"]
        body = {"inputs": [query], "parameters": {"adapted_id": made["adapted_id"]}}
        said = http.post("/v2/models/ridge/infer", json=body)
        assert said.json()["outputs"][0]["shape"] == [3]
        refused(http.post("/v2/models/proto/infer", json=body), 404)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"shape": [3, 5]}, ["wants 15"]),
            ({"datatype": "BYTES"}, ["numbers"]),
            ({"datatype": "COMPLEX"}, ["datatype"]),
            ({"name": "query"}, ["query_x"]),
            ({"shape": [12, 0]}, ["numbers"]),
        ],
    )
    def test_a_wrong_tensor(self, http, change, words):
        body = self.asked(True)
        body["inputs"][2] |= change
        refused(http.post("/v2/models/ridge/infer", json=body), 422, *words)

    def asked(self, flat):
        def tensor(name, rows):
            data = np.ravel(rows).tolist() if flat else rows
            return {"name": name, "shape": [len(rows), 4], "datatype": "FP32", "data": data}

        labels = {"name": "support_y", "shape": [4], "datatype": "BYTES", "data": list("aabb")}
        return {"inputs": [tensor("support_x", some(4)), labels, tensor("query_x", some(3, 9))]}


def test_requests_are_counted_by_route(http):
    http.get("/v1/models/proto")
    text = http.get("/metrics").text
    assert 'quickstudy_requests_total{method="GET",route="/v1/models/{model}",status="200"}' in text
    assert "quickstudy_pending 0.0" in text


def test_browsers_are_told_to_trust_nothing_else(http):
    for path in ("/v1/models", "/nothing"):
        headers = http.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_without_keys_another_sites_page_gets_nothing(http, headers):
    refused(http.get("/v1/models", headers=headers), 403)


def test_without_keys_our_own_page_does(service):
    answer = service.http.get("/v1/models", headers={"Origin": service.url})
    assert answer.status_code == 200


def test_every_route_decides_who_may_or_is_public(service):
    app = make_app(service.adaptations)
    paths = {route.path: decision(route) for route in all_routes(app.routes)}
    assert len(paths) > 12
    undecided = {path for path, scope in paths.items() if scope is None}
    assert undecided == PUBLIC


def all_routes(routes):
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", None
        )
        if inner:
            yield from all_routes(inner)
        else:
            yield route


def test_the_document_says_what_bodies_are(http):
    told = http.get("/openapi.json").json()
    content = told["paths"]["/v1/models/{model}/adapt"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert {"Support", "Query", "InferRequest", "Problem"} <= set(told["components"]["schemas"])
    text = json.dumps(told)
    for ref in set(part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]):
        assert ref in told["components"]["schemas"]
