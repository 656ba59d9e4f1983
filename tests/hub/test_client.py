import io
import json
import socket
import subprocess
import sys
import threading
import time
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
    """Answers as it was told, then well; None is to do it and hang up."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path)
        self.server.keys.append(self.headers.get("Authorization"))
        status = self.server.moods.pop(0) if self.server.moods else 200
        if status is None:
            self.close_connection = True
            return
        body = json.dumps({"predictions": [], "transductive": False, "models": [],
                           "detail": f"mood {status} {self.headers.get('Authorization')}",
                           "adapted_id": "x", "model": "m", "labels": [], "counts": [],
                           "created_at": "2026-01-01T00:00:00Z",
                           "expires_at": "2026-01-01T00:00:00Z"}).encode()  # fmt: skip
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for wait in self.server.waits:
            self.send_header("Retry-After", wait)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = do_POST  # noqa: N815

    def log_message(self, *said):
        pass


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.asked, server.moods, server.keys, server.waits = [], [], [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def of(server, **how):
    return Client(f"http://127.0.0.1:{server.server_port}", **how)


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


def test_what_may_have_been_done_is_not_done_twice(moody):
    with of(moody) as client:
        moody.moods[:] = [None]
        with pytest.raises(ServiceError, match="cannot be reached"):
            client.adapt("m", {"a": some(1)})
        assert len(moody.asked) == 1
        moody.moods[:] = [None, 502]
        assert client.models() == []
        assert len(moody.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500])
def test_the_callers_mistakes_are_not_asked_again(moody, status):
    moody.moods[:] = [status]
    with of(moody) as client, pytest.raises(ServiceError, match=f"mood {status}"):
        client.models()
    assert len(moody.asked) == 1


@pytest.mark.parametrize("lost", [None, 503])
def test_to_forget_what_an_earlier_try_forgot_is_no_error(moody, lost):
    with of(moody) as client:
        predictor = client.adapt("m", {"a": some(1)})
        moody.moods[:] = [lost, 404]
        predictor.forget()
        for moods in ([404], [429, 404]):  # nothing of this was done by an earlier try
            moody.moods[:] = moods
            with pytest.raises(ServiceError, match="mood 404"):
                predictor.forget()


def test_a_service_that_takes_requests_and_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.5) as client:
            begun = time.monotonic()
            with pytest.raises(ServiceError, match="cannot be reached: timed out"):
                client.models()
        assert 0.5 <= time.monotonic() - begun < 2.2


def test_who_is_told_to_wait_longer_than_it_may_take_gives_up_at_once(moody):
    moody.moods[:], moody.waits[:] = [503], ["5"]
    begun = time.monotonic()
    with of(moody, timeout=1) as client, pytest.raises(ServiceError, match="mood 503"):
        client.models()
    assert time.monotonic() - begun < 4


def test_an_answer_of_something_else_is_one_line(moody):
    with of(moody) as client, pytest.raises(ServiceError, match="a quickstudy service") as caught:
        client.model("m")
    assert "\n" not in str(caught.value)


def test_blanks_around_a_key_do_not_count(moody):
    with of(moody, key=" qs_secret\r\n") as client:
        client.models()
    assert moody.keys == ["Bearer qs_secret"]


@pytest.mark.parametrize("key", ["qs_sec ret", "qs_sec\nret", "qs_secr\u00e9t", b"qs_secret"])
def test_what_no_header_can_carry_is_no_key(key):
    with pytest.raises(ServiceError, match="key") as caught:
        Client("http://localhost:1", key=key)
    assert "sec" not in str(caught.value)


def test_no_error_shows_the_key(moody):
    moody.moods[:] = [401]
    with of(moody, key="qs_secret") as client, pytest.raises(ServiceError) as caught:
        client.models()
    assert str(caught.value) == "mood 401 Bearer (the key)"
    with pytest.raises(ServiceError) as caught:
        Client("qs_secret", "http://localhost:1")
    assert "qs_secret" not in str(caught.value)


def test_a_user_in_the_address_is_not_shown_and_goes_with_no_key():
    assert Client("http://me:secret@localhost:1/").url == "http://localhost:1"
    with pytest.raises(ServiceError, match="wanted one of the two"):
        Client("http://me:secret@localhost:1", "qs_secret")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8101", "localhost:8101", "ftp://x", "http://", "http://[::1", "http://a:99999",
     "http://a..b", "http://a/?b", None],
)  # fmt: skip
def test_an_address_has_a_scheme_and_a_host(url):
    with pytest.raises(ServiceError, match="an address is like http://localhost:8008") as caught:
        Client(url)
    assert str(caught.value).endswith(f"got {url!r}")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), None, True, "5"])
def test_a_timeout_is_seconds(timeout):
    with pytest.raises(ServiceError, match="a timeout is seconds"):
        Client("http://localhost:1", timeout=timeout)


def test_any_positive_time_is_a_timeout(moody):
    for timeout in (1, np.float32(2.5), 1e300):
        with of(moody, timeout=timeout) as client:
            assert client.models() == []


@pytest.mark.parametrize("name", [3, None, "", ".."])
def test_a_model_has_a_name(name):
    with pytest.raises(ServiceError, match="a model's name, or an id, is a string"):
        Client("http://localhost:1").adapt(name, {"a": [[0]]})


def test_a_client_loads_no_torch():
    code = (
        "import sys, quickstudy as qs; qs.Client('http://localhost:1').close(); "
        "print(any(m.partition('.')[0] == 'torch' for m in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
