import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from hub.asking import png, some
from quickstudy import Client, ServiceError, load
from quickstudy.hub import client as module
from quickstudy.hub.predictor import deploy


@pytest.fixture
def client(service):
    with Client(service.url) as made:
        yield made


def test_the_same_two_verbs_give_the_same_answers(client, plain):
    x, labels, asked = np.array(some(6)), list("abcabc"), np.array(some(4, 1))
    served = client.adapt("maml", (x, labels))
    own = deploy(load(plain["maml"]), (x, labels))
    assert served.labels == ["a", "b", "c"]
    assert served.predict(asked) == own.predict(asked)
    shares = [list(answer.probabilities.values()) for answer in served.answers(asked)]
    torch.testing.assert_close(torch.tensor(shares), own.probabilities(asked), atol=1e-5, rtol=0)


def test_examples_by_label(client):
    predictor = client.adapt("proto", {"a": some(2), "b": np.array(some(3, 1))})
    assert predictor.labels == ["a", "b"]
    assert predictor.predict(some(2)) == ["a", "a"]


def test_labels_stay_what_they_are(client):
    predictor = client.adapt("proto", (some(2), np.array([7, 3])))
    assert predictor.predict(some(2)) == [7, 3]


def test_images_in_any_form(client, tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    picture = Image.open(io.BytesIO(png(2)))
    predictor = client.adapt("photos", {"a": [tmp_path / "a.png"], "b": [picture], "c": [png(3)]})
    assert predictor.predict([png(1), str(tmp_path / "a.png"), png(2)]) == ["a", "a", "b"]


def test_bytes_are_pixels(client, trained):
    size = client.model("photos").input_shape
    pixels = np.random.default_rng(0).integers(0, 256, (4, *size), dtype=np.uint8)
    served = client.adapt("photos", (pixels, list("abab")))
    own = deploy(load(trained), (pixels, list("abab")))
    assert served.predict(torch.from_numpy(pixels)) == own.predict(pixels)
    shares = [list(answer.probabilities.values()) for answer in served.answers([*pixels])]
    torch.testing.assert_close(torch.tensor(shares), own.probabilities(pixels), atol=1e-5, rtol=0)


def test_classes_are_added_later(client):
    predictor = client.adapt("proto", {"a": some(1, 1), "b": some(1, 2)})
    before = predictor.adapted_id
    assert predictor.extend({"c": some(1, 3)}).labels == ["a", "b", "c"]
    assert predictor.adapted_id == before
    assert predictor.predict(some(1, 3)) == ["c"]
    assert predictor.predict(some(1, 1)) == ["a"]


def test_numbers_come_back_by_name(client):
    info = client.model("sales")
    rows = some(3, 0, (len(info.features),))
    predictor = client.adapt("sales", (rows, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert predictor.labels is None
    assert [set(answer) for answer in predictor.predict(rows)] == [set(info.values)] * 3


def test_what_was_adapted_is_found_again_until_it_is_forgotten(client):
    made = client.adapt("proto", {"a": some(1), "b": some(1, 1)})
    again = client.adapted(made.adapted_id)
    assert again.labels == ["a", "b"]
    assert again.expires_at == made.expires_at
    assert made.adapted_id in [one.adapted_id for one in client.all_adapted()]
    made.forget()
    with pytest.raises(ServiceError, match="no adapted model") as caught:
        again.predict(some(1))
    assert caught.value.status == 404


def test_models_are_listed(client):
    assert {model.name for model in client.models()} == {
        "proto",
        "maml",
        "ridge",
        "photos",
        "sales",
    }


def test_the_services_reason_is_the_error(client):
    with pytest.raises(ServiceError, match=r"wanted examples of 2 classes or more, got only 'a'"):
        client.adapt("proto", {"a": some(2)})
    with pytest.raises(ServiceError, match="there is no model 'none'"):
        client.adapt("none", {"a": some(1), "b": some(1)})


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([1, 2], "a mapping from labels to inputs"),
        ({"a": [png()], "b": some(1)}, "got both"),
        ({"a": ["no/such/file.png"], "b": [png()]}, "cannot read no/such/file.png"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(client, examples, words):
    with pytest.raises(ServiceError, match=words):
        client.adapt("photos", examples)


def test_one_input_is_a_list_of_one(client):
    predictor = client.adapt("photos", {"a": [png(1)], "b": [png(2)]})
    with pytest.raises(ServiceError, match=r"\[x\] is one input"):
        predictor.predict("a.png")


def test_a_service_that_is_not_there(monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError) as caught:
        client.models()
    assert caught.value.status is None
    assert "http://127.0.0.1:9 cannot be reached" in str(caught.value)


class Moody(BaseHTTPRequestHandler):
    """Answers as it was told, then well."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        status = self.server.moods.pop(0) if self.server.moods else 200
        body = json.dumps({"predictions": [], "transductive": False, "detail": f"mood {status}",
                           "adapted_id": "x", "model": "m", "labels": [], "counts": [],
                           "created_at": "2026-01-01T00:00:00Z",
                           "expires_at": "2026-01-01T00:00:00Z"}).encode()  # fmt: skip
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said):
        pass


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.asked, server.moods = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def of(server):
    return Client(f"http://127.0.0.1:{server.server_port}")


@pytest.mark.parametrize("moods", [[429], [503, 503], [502, 504, 429]])
def test_a_question_is_asked_again_where_the_service_is_busy(moody, moods):
    with of(moody) as client:
        predictor = client.adapt("m", {"a": some(1)})
        moody.moods[:] = moods
        assert predictor.predict(some(1)) == []
    assert len(moody.asked) == 1 + len(moods) + 1


def test_to_adapt_is_tried_again_only_where_nothing_was_done(moody):
    with of(moody) as client:
        moody.moods[:] = [429]
        client.adapt("m", {"a": some(1)})
        assert len(moody.asked) == 2
        moody.moods[:] = [503]
        with pytest.raises(ServiceError, match="mood 503"):
            client.adapt("m", {"a": some(1)})
        assert len(moody.asked) == 3


def test_it_gives_up_in_the_end(moody):
    with of(moody) as client:
        predictor = client.adapt("m", {"a": some(1)})
        moody.moods[:] = [503] * 10
        with pytest.raises(ServiceError, match="mood 503"):
            predictor.predict(some(1))
    assert len(moody.asked) == 1 + module.TRIES


def test_a_client_loads_no_torch():
    code = (
        "import sys, quickstudy as qs; qs.Client('http://localhost:1').close(); "
        "print(any(m.partition('.')[0] == 'torch' for m in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
