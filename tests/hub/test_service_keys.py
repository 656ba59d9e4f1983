from contextlib import closing

import httpx
import pytest

from hub.asking import adapted, refused, some
from hub.servers import serving
from quickstudy import Client, ServiceError
from quickstudy.hub.service import access, runs
from quickstudy.hub.store.keys import KeyRing


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    with closing(KeyRing(str(tmp_path_factory.mktemp("keys") / "store.sqlite"))) as made:
        yield made


@pytest.fixture(scope="module")
def service(plain, ring):
    with serving(plain, keys=ring) as running:
        yield running


@pytest.fixture
def as_(service, ring, request):
    """A caller with a key of these scopes."""
    made = []

    def caller(*scopes):
        _, token = ring.create(f"{request.node.name[:40]} {len(made)}", list(scopes))
        headers = {"Authorization": f"Bearer {token}"}
        made.append(httpx.Client(base_url=service.url, headers=headers, timeout=60))
        return made[-1]

    yield caller
    for one in made:
        one.close()


GETS = ["/v1/models", "/v1/models/proto", "/v1/adapted", "/v1/adapted/x", "/v1/runs",
        "/v1/runs/abcd", "/v1/runs/abcd/curve", "/v1/runs/abcd/events", "/v2", "/v2/models/proto",
        "/v2/models/proto/ready", "/metrics"]  # fmt: skip
POSTS = ["/v1/models/proto/adapt", "/v1/adapted/x/predict", "/v1/adapted/x/extend",
         "/v2/models/proto/infer"]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_nothing_is_told_to_nobody(service, path):
    answer = service.http.get(path)
    refused(answer, 401, "wanted an API key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", POSTS)
def test_nothing_is_done_for_nobody(service, path):
    refused(service.http.post(path, json={"x": some(2), "labels": ["a", "b"]}), 401)
    refused(service.http.delete("/v1/adapted/x"), 401)
    assert len(service.adaptations.states) == 0


@pytest.mark.parametrize(
    "path", ["/health", "/v2/health/live", "/v2/health/ready", "/openapi.json"]
)
def test_that_it_lives_is_told_to_all(service, path):
    assert service.http.get(path).status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        "none",
        "qs_",
        "qs_0123456789_" + "a" * 43,
        "a" * 100_0,
        "Basic eA==",
        "é" * 5,
        "qs_%00_x",
    ],
)
def test_what_is_no_key_opens_nothing(service, token):
    headers = {"Authorization": f"Bearer {token}".encode()}
    refused(service.http.get("/v1/models", headers=headers), 401)


def test_a_scope_opens_what_it_says(as_):
    reader, adapter = as_("read"), as_("adapt")
    assert reader.get("/v1/models").status_code == 200
    refused(adapter.get("/v1/models"), 403, "'read'")
    refused(reader.post("/v1/models/proto/adapt", json={"x": some(2), "labels": ["a", "b"]}), 403)
    assert adapted(adapter)["model"] == "proto"


def test_both_headers_are_taken(service, ring):
    _, token = ring.create("other header", ["read"])
    assert service.http.get("/v1/models", headers={"X-API-Key": token}).status_code == 200


def test_anothers_state_is_as_if_it_were_not_there(as_):
    mine, other, admin = as_("adapt"), as_("adapt"), as_("admin")
    path = f"/v1/adapted/{adapted(mine)['adapted_id']}"
    more = {"x": some(1), "labels": ["a"]}
    refused(other.get(path), 404)
    refused(other.post(f"{path}/predict", json={"x": some(1)}), 404)
    refused(other.post(f"{path}/extend", json=more), 404)
    refused(other.delete(path), 404)
    assert other.get("/v1/adapted").json() == {"adapted": []}
    nothing = other.get("/v1/adapted/nothing").json()["detail"].replace("nothing", "")
    assert other.get(path).json()["detail"].replace(path.rpartition("/")[2], "") == nothing
    assert mine.get(path).json()["counts"] == [2, 2]
    assert admin.get(path).status_code == 200
    assert admin.post(f"{path}/extend", json=more).status_code == 200
    assert admin.delete(path).status_code == 204
    refused(mine.get(path), 404)


def test_each_key_has_its_own_quota(plain, tmp_path):
    from quickstudy.hub.service.limits import Limits

    with closing(KeyRing(str(tmp_path / "store.sqlite"))) as ring:
        tokens = [ring.create(name, ["adapt"])[1] for name in ("one", "two")]
        with serving(plain, keys=ring, limits=Limits(adapted=2)) as service:
            for token in tokens:
                headers = {"X-API-Key": token}
                with httpx.Client(base_url=service.url, headers=headers) as http:
                    for seed in range(3):
                        adapted(http, seed=seed)
            for token in tokens:
                left = service.http.get("/v1/adapted", headers={"X-API-Key": token}).json()
                assert len(left["adapted"]) == 2


def test_a_revoked_key_opens_nothing_soon(service, ring, as_, monkeypatch):
    monkeypatch.setattr(access, "REMEMBERED", 0.0)
    key, token = ring.create("to be revoked", ["read"])
    headers = {"X-API-Key": token}
    assert service.http.get("/v1/models", headers=headers).status_code == 200
    ring.revoke(key.id)
    refused(service.http.get("/v1/models", headers=headers), 401, "no longer")


def test_a_client_with_a_key(service, ring):
    _, token = ring.create("client", ["read", "adapt"])
    with Client(service.url, token) as client:
        assert len(client.models()) == 3
        assert client.adapt("proto", {"a": some(1), "b": some(1, 1)}).predict(some(1)) == ["a"]
    with Client(service.url) as nobody, pytest.raises(ServiceError, match="API key") as caught:
        nobody.models()
    assert caught.value.status == 401


def test_with_keys_any_host_and_page_may_ask(service, ring):
    _, token = ring.create("proxy", ["read"])
    headers = {"X-API-Key": token, "Host": "models.example", "Origin": "https://models.example"}
    assert service.http.get("/v1/models", headers=headers).status_code == 200


def test_an_admin_sees_what_anybody_has_adapted(as_, service):
    mine = adapted(as_("adapt"))["adapted_id"]
    assert as_("adapt").get("/v1/adapted").json()["adapted"] == []
    listed = as_("admin").get("/v1/adapted").json()["adapted"]
    assert mine in [one["adapted_id"] for one in listed]


def test_a_stream_of_events_ends_with_its_key(plain, ring, following, monkeypatch):
    monkeypatch.setattr(access, "REMEMBERED", 0.0)
    monkeypatch.setattr(runs, "EVERY_SECONDS", 0.05)
    store, path = following
    key, token = ring.create("follower", ["read"])
    with serving(plain, keys=ring, store=store) as service:
        headers = {"Authorization": f"Bearer {token}"}
        with service.http.stream("GET", path, headers=headers) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("id: ")
            ring.revoke(key.id)
            assert "event: end" not in list(lines)
        monkeypatch.setattr(runs, "STREAMS", 0)
        _, token = ring.create("another", ["read"])
        headers = {"Authorization": f"Bearer {token}"}
        refused(service.http.get(path, headers=headers), 429, "followed already")
