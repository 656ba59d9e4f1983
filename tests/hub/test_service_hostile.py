"""Requests that are made to do harm: what they cost, and whom."""

import asyncio
import base64
import io
import json
import socket
import tempfile
import threading
import time
import weakref

import pytest
from PIL import Image

from hub.asking import adapted, png, refused, some
from hub.servers import serving
from quickstudy.errors import StoreError
from quickstudy.hub.service import adaptations as module
from quickstudy.hub.service.adaptations import Adaptations
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.problems import Refused
from quickstudy.hub.service.served import Served
from quickstudy.hub.service.work import Work
from quickstudy.hub.wire import Inputs


@pytest.fixture(scope="module")
def http(plain, trained):
    with serving({**plain, "photos": trained}) as service:
        yield service.http


def adapt(http, **body):
    return http.post("/v1/models/proto/adapt", content=json.dumps(body))


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ({"x": [1], "labels": [[]] * 300_000}, "labels.0: a label is"),
        ({"x": [1], "targets": [["a"]] * 200_000}, "targets.0.0"),
        ({"x": [1], "targets": ["a"] * 300_000}, "targets.0"),
        ({"images": [0] * 500_000, "labels": ["a"]}, "images.0"),
    ],
)
def test_of_very_many_faults_the_first_is_told(http, body, first):
    answer = adapt(http, **body)
    refused(answer, 422, first)
    assert " more" not in answer.json()["detail"]


@pytest.mark.parametrize("shape", [[10**9] * 490, [1] * 300_000, [1] * 9, [10**9] * 8])
def test_a_shape_of_any_length(http, shape):
    tensor = {"name": "query_x", "shape": shape, "datatype": "FP32", "data": [0.0]}
    body = {"inputs": [tensor], "parameters": {"adapted_id": "x"}}
    refused(http.post("/v2/models/proto/infer", json=body), 422, "shape")


def test_a_tensor_of_very_many_dimensions_of_one(http):
    shape = [400_000, 1, 1, 1, 1, 1, 1, 1]
    tensor = {"name": "query_x", "shape": shape, "datatype": "FP32", "data": [0.0] * 400_000}
    body = {"inputs": [tensor], "parameters": {"adapted_id": adapted(http)["adapted_id"]}}
    refused(http.post("/v2/models/proto/infer", json=body), 422, "x must be inputs")


def test_labels_of_a_tensor_are_labels(http):
    x = {"shape": [2, 4], "datatype": "FP32", "data": some(2)}
    names = {"name": "support_y", "shape": [2], "datatype": "BYTES", "data": ["a", 1.5]}
    body = {"inputs": [{"name": "support_x", **x}, names, {"name": "query_x", **x}]}
    refused(http.post("/v2/models/proto/infer", json=body), 422, "support_y: 1: a label is text")
    names["data"] = ["a", "b", "c"]
    refused(http.post("/v2/models/proto/infer", json=body), 422, "support_y must be labels [2]")


def test_numbers_too_large_to_be_answered(http):
    id = adapted(http)["adapted_id"]
    answer = http.post(f"/v1/adapted/{id}/predict", json={"x": [[3e38, 3e38, -3e38, 3e38]]})
    refused(answer, 422, "numbers that are not finite")


@pytest.mark.parametrize(
    "label", ["a\0", "a\n", "\x7f", "\u0085", "", "a" * 201, 2**63, 10**4000, None, 1.5, True]
)
def test_a_label_that_cannot_be(http, label):
    refused(adapt(http, x=some(2), labels=[label, "b"]), 422, "a label is text of 1 to 200")


@pytest.mark.parametrize("label", [-(2**63), 2**63 - 1, "a" * 200, "ä", "字", "__proto__"])
def test_a_label_that_can(http, label):
    assert adapt(http, x=some(2), labels=[label, "b"]).json()["labels"] == [label, "b"]


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "undefined", "punycode"])
def test_a_form_in_another_charset(http, charset):
    part = b'--b\r\nContent-Disposition: form-data; name="\\ud800"; filename="a"\r\n\r\n'
    body = part + png() + b"\r\n--b--\r\n"
    kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = http.post("/v1/models/photos/adapt", content=body, headers=kind)
    refused(answer, 415, "wanted a form in UTF-8", charset)


def test_a_quote_in_a_fields_name_is_one_in_the_label(http):
    files = [('say "a"', ("a.png", png())), ("b", ("b.png", png(1)))]
    made = http.post("/v1/models/photos/adapt", files=files)
    assert made.json()["labels"] == ['say "a"', "b"]


def test_the_file_of_a_form_that_cannot_be_used_is_named(http):
    files = [("a", ("a.png", png())), ("b", ("passwd", b"root:x:0:0"))]
    refused(http.post("/v1/models/photos/adapt", files=files), 422, "image 'passwd' of 'b' cannot")


def test_a_field_whose_name_cannot_be_a_label(http):
    files = [("a" * 201, ("a.png", png())), ("b", ("b.png", png(1)))]
    refused(http.post("/v1/models/photos/adapt", files=files), 422, "1 to 200 characters")


def test_no_file_of_a_form_is_written_to_the_disk(http, monkeypatch):
    def refuse(self):
        raise AssertionError("a client's file goes to the disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    files = [("a", ("a.png", png() + bytes(1_500_000))), ("b", ("b.png", png(1)))]
    assert http.post("/v1/models/photos/adapt", files=files).status_code == 201


def blank(side):
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_many_pixels_in_few_bytes(trained):
    with serving({"photos": trained}, limits=Limits(image=10_000, pixels=20_000)) as service:
        for images, words in (
            ([blank(101)] * 2, "10201 pixels; at most 10000"),
            ([blank(100)] * 3, "the images have 30000 pixels; at most 20000"),
        ):
            body = {"images": images, "labels": list("abc")[: len(images)]}
            refused(service.http.post("/v1/models/photos/adapt", json=body), 422, words)


def test_a_body_that_does_not_come(plain):
    with serving(plain, limits=Limits(deadline=0.5)) as service:
        with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as line:
            line.settimeout(30)
            line.sendall(
                b"POST /v1/models/proto/adapt HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
            )
            said = line.recv(10_000)
        assert said.split()[1] == b"503"
        assert b"connection: close" in said.lower()
        assert service.http.get("/health").status_code == 200


def test_what_nobody_waits_for_leaves_the_queue():
    class Body:
        pass

    async def give_up():
        work, go, body = Work(1, 10), threading.Event(), Body()
        first = asyncio.create_task(work.do(lambda: go.wait(30)))
        await asyncio.sleep(0.05)
        gone = weakref.ref(body)
        second = asyncio.create_task(work.do(lambda body=body: body))
        await asyncio.sleep(0.05)
        del body
        second.cancel()
        await asyncio.wait([second])
        del second
        await asyncio.sleep(0)
        held, pending = gone(), work.pending
        go.set()
        await first
        work.close()
        return held, pending

    assert asyncio.run(give_up()) == (None, 1)


def test_what_is_deleted_while_it_is_extended_stays_away(plain):
    limits = Limits()
    served = Served("proto", plain["proto"], limits, "cpu")

    async def race():
        work = Work(1, 10)
        service = Adaptations({"proto": served}, limits, work)
        known = served.labelled(served.read(Inputs(x=some(2))), ["a", "b"])
        held = await service.adapt("proto", "me", lambda _: known)
        reading, go = threading.Event(), threading.Event()

        def slowly(_):
            reading.set()
            go.wait(30)
            return known

        extending = asyncio.create_task(service.extend(held, slowly))
        await asyncio.to_thread(reading.wait, 30)
        await service.forget(held)
        go.set()
        with pytest.raises(Refused, match="no adapted model"):
            await extending
        work.close()
        return len(service.states)

    assert asyncio.run(race()) == 0


class Failing:
    """A shelf whose store is away when it is purged."""

    def __init__(self):
        self.purged = 0

    def purge(self, now):
        self.purged += 1
        raise StoreError("away")


def test_a_store_that_is_away_ends_no_purge(plain, monkeypatch):
    monkeypatch.setattr(module, "PURGE_SECONDS", 0.01)
    shelf = Failing()
    with serving(plain, shelf=shelf) as service:
        while shelf.purged < 3:
            time.sleep(0.01)
        work = service.adaptations.work
    assert not work._open, "the service ended as it should"


def test_what_has_expired_is_not_listed(plain):
    with serving(plain, limits=Limits(live=100)) as service:
        adapted(service.http)
        assert len(service.http.get("/v1/adapted").json()["adapted"]) == 1
        service.clock.now += 100
        assert service.http.get("/v1/adapted").json()["adapted"] == []
