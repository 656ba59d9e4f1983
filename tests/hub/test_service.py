import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from hub.asking import adapted, png, refused, some
from hub.servers import serving
from quickstudy import load
from quickstudy.hub.predictor import deploy
from quickstudy.hub.service.served import Served


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


def probabilities(url, model, seed):
    """What a client of its own is answered, of what it had adapted."""
    with httpx.Client(base_url=url, timeout=60) as http:
        made = adapted(http, model, "abcab", seed)
        path = f"/v1/adapted/{made['adapted_id']}/predict"
        rows = http.post(path, json={"x": some(3, seed + 100)}).json()["predictions"]
        return [[row["probabilities"][c] for c in "abc"] for row in rows]


@pytest.mark.parametrize("model", ["proto", "maml", "ridge"])
def test_the_same_whatever_else_is_in_flight(service, model):
    alone = [probabilities(service.url, model, seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(partial(probabilities, service.url, model), range(12)))
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["proto", "ridge"])
def test_the_same_where_it_is_embedded_with_others(plain, model, monkeypatch):
    embed, sizes = Served.embed, []

    def slow(self, x):
        """The first has the one thread until all the others wait."""
        sizes.append(len(x))
        until = time.monotonic() + 30
        while len(sizes) == 1 and running.adaptations.work.pending < 12:
            assert time.monotonic() < until
            time.sleep(0.001)
        return embed(self, x)

    monkeypatch.setattr(Served, "embed", slow)
    with serving({model: plain[model]}, threads=1) as running, ThreadPoolExecutor(12) as pool:
        together = list(pool.map(partial(probabilities, running.url, model), range(12)))
    assert max(sizes) >= 12 * 5 / 2, "all that was to be learned came in two parts"
    learner = load(plain[model])
    for seed, came in enumerate(together):
        own = deploy(learner, (some(5, seed), list("abcab")))
        np.testing.assert_allclose(came, own.probabilities(some(3, seed + 100)), rtol=0, atol=1e-5)


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
    address = "data:image/png;base64," + base64.b64encode(png(4)).decode()
    path = f"/v1/adapted/{in_json['adapted_id']}/predict"
    second = http.post(path, json={"images": [address]})
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


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"x": [[NaN, 1]]', b"[" * 9000])
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
    refused(
        http.post("/v1/models/photos/adapt", files=files),
        422,
        "image 'b.png' of 'b' cannot be used",
    )


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


def test_pixels_of_another_range_are_refused(http):
    shape = http.get("/v1/models/photos").json()["input_shape"]
    body = {"x": [np.full(shape, value).tolist() for value in (0, 255)], "labels": ["a", "b"]}
    refused(http.post("/v1/models/photos/adapt", json=body), 422, "0..1", "0 to 255")


def test_base64_may_have_lines(http):
    lines = base64.encodebytes(png()).decode()
    assert lines.count("\n") > 1
    body = {"images": [lines, base64.b64encode(png(1)).decode()], "labels": ["a", "b"]}
    assert http.post("/v1/models/photos/adapt", json=body).status_code == 201


def test_images_in_no_base64_are_refused(http):
    body = {"images": ["%%%", "aGVsbG8="], "labels": ["a", "b"]}
    refused(http.post("/v1/models/photos/adapt", json=body), 422, "image 0 is no base64")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/..%2f..%2fetc",
        "/v1/models/%00",
        "/v1/models/" + "a" * 3000,
        "/v1/adapted/..%2fx",
        "/v1/adapted/%00",
        "/v1/adapted/http:%2f%2fa.b",
        "/v1/runs/..%2f..",
        "/v1/runs/file:%2f%2f%2fetc",
        "/nothing",
    ],
)
def test_addresses_of_nothing(http, path):
    refused(http.get(path), 404)


def test_a_method_that_a_route_has_not(http):
    refused(http.put("/v1/models"), 405)


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

    def test_outputs_that_are_named_are_told_alone(self, http):
        body = self.asked(True) | {"outputs": [{"name": "probabilities"}]}
        said = http.post("/v2/models/ridge/infer", json=body).json()
        assert [one["name"] for one in said["outputs"]] == ["probabilities"]
        assert "id" not in said
        body["outputs"][0]["name"] = "logits"
        refused(
            http.post("/v2/models/ridge/infer", json=body), 422, "the outputs are label, labels"
        )

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
