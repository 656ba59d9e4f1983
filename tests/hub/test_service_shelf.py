"""What was adapted outlives the process that adapted it, on both databases."""

import signal
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from hub.asking import adapted, refused, some
from hub.servers import process, serving
from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.shelf import StoreShelf
from quickstudy.hub.store.engine import store_url


@pytest.fixture
def shelf(url):
    with closing(StoreShelf(url)) as made:
        yield made


def answers(http, id):
    said = http.post(f"/v1/adapted/{id}/predict", json={"x": some(3, 7)})
    assert said.status_code == 200, said.text
    return said.json()


def test_a_restart_loses_none(plain, shelf):
    with serving(plain, shelf=shelf) as first:
        ids = [adapted(first.http, model, "abcab")["adapted_id"] for model in plain]
        before = [answers(first.http, id) for id in ids]
        told = [first.http.get(f"/v1/adapted/{id}").json() for id in ids]
    with serving(plain, shelf=shelf) as second:
        assert [answers(second.http, id) for id in ids] == before
        assert [second.http.get(f"/v1/adapted/{id}").json() for id in ids] == told
        listed = second.http.get("/v1/adapted").json()["adapted"]
        assert {one["adapted_id"] for one in listed} == set(ids)


def test_labels_and_targets_come_back_as_they_were(plain, sales_run, shelf):
    models = {**plain, "sales": sales_run}
    with serving(models, shelf=shelf) as first:
        body = {"x": some(3), "labels": [7, "seven", 8]}
        mixed = first.http.post("/v1/models/proto/adapt", json=body).json()["adapted_id"]
        rows = some(3, 0, (len(first.http.get("/v1/models/sales").json()["features"]),))
        body = {"x": rows, "targets": [[1.0, 2.0]] * 3}
        sales = first.http.post("/v1/models/sales/adapt", json=body).json()["adapted_id"]
        before = first.http.post(f"/v1/adapted/{sales}/predict", json={"x": rows}).json()
    with serving(models, shelf=shelf) as second:
        assert second.http.get(f"/v1/adapted/{mixed}").json()["labels"] == [7, "seven", 8]
        assert second.http.post(f"/v1/adapted/{sales}/predict", json={"x": rows}).json() == before


def test_services_that_share_a_store_see_each_others_changes(plain, shelf):
    with serving(plain, shelf=shelf) as one, serving(plain, shelf=shelf) as two:
        id = adapted(one.http, "proto", "ab")["adapted_id"]
        answers(two.http, id)  # now two holds it as well
        one.clock.now += 1
        more = {"x": some(1, 3), "labels": ["c"]}
        assert one.http.post(f"/v1/adapted/{id}/extend", json=more).status_code == 200
        assert two.http.get(f"/v1/adapted/{id}").json()["labels"] == ["a", "b", "c"]
        two.clock.now += 2
        more = {"x": some(1, 4), "labels": ["d"]}
        assert two.http.post(f"/v1/adapted/{id}/extend", json=more).status_code == 200
        assert one.http.get(f"/v1/adapted/{id}").json()["labels"] == ["a", "b", "c", "d"]
        assert answers(one.http, id) == answers(two.http, id)
        assert two.http.delete(f"/v1/adapted/{id}").status_code == 204
        refused(one.http.get(f"/v1/adapted/{id}"), 404)


def test_time_and_quota_hold_in_the_store(plain, shelf):
    limits = Limits(live=100, adapted=2)
    with serving(plain, shelf=shelf, limits=limits) as service:
        ids = []
        for seed in range(3):
            service.clock.now += 1
            ids.append(adapted(service.http, seed=seed)["adapted_id"])
        refused(service.http.get(f"/v1/adapted/{ids[0]}"), 404)
        service.clock.now += 99.5
        refused(service.http.get(f"/v1/adapted/{ids[1]}"), 404)
        assert service.http.get(f"/v1/adapted/{ids[2]}").status_code == 200
        served = [model.info.digest for model in service.adaptations.models.values()]
        assert [one.adapted_id for one in shelf.of("local", service.clock.now, served)] == [ids[2]]
        assert shelf.of("local", service.clock.now, ["another"]) == []
        shelf.purge(service.clock.now)
        assert [one.adapted_id for one in shelf.of(None, 0.0, served)] == [ids[2]]


def test_what_is_of_another_model_is_not_answered(plain, shelf):
    with serving({"m": plain["proto"]}, shelf=shelf) as first:
        id = adapted(first.http, "m")["adapted_id"]
    with serving({"m": plain["ridge"]}, shelf=shelf) as second:
        refused(second.http.get(f"/v1/adapted/{id}"), 404)
        assert second.http.get("/v1/adapted").json()["adapted"] == []


def test_a_store_that_fails_is_no_fault_of_the_client(plain, shelf, url, caplog):
    with serving(plain, shelf=shelf, store=url) as service:
        id = adapted(service.http)["adapted_id"]
        engine = create_engine(store_url(url))
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE adapted"))
            connection.execute(text("DROP TABLE runs"))
        engine.dispose()
        body = {"x": some(2), "labels": ["a", "b"]}
        for answer in (
            service.http.post("/v1/models/proto/adapt", json=body),
            service.http.get(f"/v1/adapted/{id}"),
            service.http.get("/v1/runs"),
        ):
            refused(answer, 503, "the store cannot be used now")
            assert answer.headers["retry-after"] == "5"
        assert service.http.get("/health").status_code == 200
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_process_that_is_stopped_or_killed_loses_none(plain, tmp_path, how):
    store = str(tmp_path / "store.sqlite")
    with process(plain["proto"], store, "--keep") as (first, http):
        id = adapted(http, "m")["adapted_id"]
        before = answers(http, id)
        first.send_signal(how)
        assert first.wait(30) == (-how if how == signal.SIGKILL else 0)
    with process(plain["proto"], store, "--keep") as (_, http):
        assert answers(http, id) == before


def test_without_it_a_restart_forgets(plain, tmp_path):
    store = str(tmp_path / "store.sqlite")
    with process(plain["proto"], store) as (_, http):
        id = adapted(http, "m")["adapted_id"]
    with process(plain["proto"], store) as (_, http):
        refused(http.get(f"/v1/adapted/{id}"), 404)


def test_a_list_reads_no_examples(plain, shelf, url):
    with serving(plain, shelf=shelf) as service:
        told = [adapted(service.http, labels=labels) for labels in ("aab", "abcc")]
        engine = create_engine(store_url(url))
        with engine.begin() as connection:
            damage = text("UPDATE adapted SET examples = :nothing WHERE id = :id")
            connection.execute(damage, {"nothing": b"", "id": told[0]["adapted_id"]})
            old = text("UPDATE adapted SET counts = NULL WHERE id = :id")  # of an older release
            connection.execute(old, {"id": told[1]["adapted_id"]})
        engine.dispose()
        listed = service.http.get("/v1/adapted").json()["adapted"]
    assert sorted(listed, key=lambda one: one["labels"]) == told


def test_what_was_just_put_stays_though_a_clock_is_behind(plain, shelf):
    limits = Limits(adapted=2)
    with serving(plain, shelf=shelf, limits=limits) as service:
        for seed in range(2):
            adapted(service.http, seed=seed)
        service.clock.now -= 5
        id = adapted(service.http, seed=2)["adapted_id"]
        assert service.http.get(f"/v1/adapted/{id}").status_code == 200
        assert len(service.http.get("/v1/adapted").json()["adapted"]) == 2
