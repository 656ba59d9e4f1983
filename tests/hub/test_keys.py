"""Keys to the service: contract over both databases, and the commands."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from hub.databases import say
from quickstudy.errors import RunError
from quickstudy.hub.store.engine import store_url
from quickstudy.hub.store.keys import KeyRing

BEGAN = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self):
        self.now = BEGAN

    def __call__(self):
        return self.now

    def pass_(self, **time):
        self.now += timedelta(**time)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ring(url, clock):
    with closing(KeyRing(url, clock)) as made:
        yield made


def test_a_store_that_is_written_locks_nobody_out(ring, url):
    """It cannot be noted that the key was used, and that is not waited for."""
    key, secret = ring.create("laptop", ["read"])
    engine, found = create_engine(store_url(url)), []
    asking = threading.Thread(target=lambda: found.append(ring.check(secret)), daemon=True)
    with engine.connect() as writer:
        if writer.dialect.name == "sqlite":
            writer.exec_driver_sql("BEGIN IMMEDIATE")
        writer.execute(text("UPDATE keys SET name = 'mine'"))
        asking.start()
        asking.join(15)
        assert [one.id for one in found] == [key.id]
        writer.rollback()
    engine.dispose()


def test_a_key_opens_what_it_was_made_for(ring):
    key, secret = ring.create("laptop", ["adapt", "read", "read"])
    assert secret.startswith(f"qs_{key.id}_")
    assert len(secret) == len(f"qs_{key.id}_") + 43
    found = ring.check(secret)
    assert (found.id, found.name, found.scopes) == (key.id, "laptop", ("read", "adapt"))
    assert found.created == BEGAN
    assert [(k.id, k.last_used) for k in ring.all()] == [(key.id, BEGAN)]


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["read"], {"read"}),
        (["adapt"], {"adapt"}),
        (["read", "adapt"], {"read", "adapt"}),
        (["admin"], {"read", "adapt", "admin"}),
    ],
)
def test_scopes(ring, scopes, allowed):
    _, secret = ring.create("k", scopes)
    key = ring.check(secret)
    asked = ("read", "adapt", "admin", "root", "")
    assert {scope for scope in asked if key.allows(scope)} == allowed


def test_a_secret_that_is_almost_right(ring):
    """Every letter counts, and so does whose it is."""
    (one, mine), (other, theirs) = ring.create("a", ["read"]), ring.create("b", ["admin"])
    for place in range(len(mine)):
        for letter in "A_":
            wrong = mine[:place] + letter + mine[place + 1 :]
            assert ring.check(wrong) is None or wrong == mine
    swapped = theirs.replace(other.id, one.id)
    assert ring.check(swapped) is None
    for wrong in ("", mine[:-1], f"{mine}A", f"{mine}\n", f" {mine}", mine.upper(), mine + theirs):
        assert ring.check(wrong) is None
    assert ring.check(mine).name == "a"


def test_revoked_and_expired_keys_open_nothing(ring, clock):
    _, first = ring.create("a", ["admin"])
    second, by_id = ring.create("b", ["read"])
    _, brief = ring.create("c", ["read"], expires=BEGAN + timedelta(hours=1))
    assert ring.check(brief).state(clock()) == "active"
    clock.pass_(minutes=59, seconds=59)
    assert ring.check(brief) is not None
    clock.pass_(seconds=1)
    assert ring.check(brief) is None
    assert ring.revoke("a").revoked == clock()
    assert ring.revoke(second.id).name == "b"
    assert ring.check(first) is ring.check(by_id) is None
    states = {key.name: key.state(clock()) for key in ring.all()}
    assert states == {"a": "revoked", "b": "revoked", "c": "expired"}
    then = clock()
    clock.pass_(days=1)
    assert ring.revoke("a").revoked == then  # again, and it stays when it was
    for wrong in ("none", "", "\0", "\ud800", "n" * 10**6):
        with pytest.raises(RunError, match="there is no key with the id or name"):
            ring.revoke(wrong)


def test_a_name_is_free_again_once_its_key_is_revoked(ring, clock):
    old, _ = ring.create("laptop", ["read"])
    with pytest.raises(RunError, match=r"a key named 'laptop' already; revoke it, or choose"):
        ring.create("laptop", ["admin"])
    ring.revoke("laptop")
    clock.pass_(seconds=1)
    new, secret = ring.create("laptop", ["adapt"])
    assert [key.id for key in ring.all()] == [new.id, old.id]
    assert ring.check(secret).id == new.id
    assert ring.revoke("laptop").id == new.id  # the one that was not revoked
    assert ring.check(secret) is None


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\0b", "\ud800", "n" * 65])
def test_names_that_cannot_be(ring, name):
    with pytest.raises(RunError, match=r"must be 1 to 64 printable characters"):
        ring.create(name, ["read"])
    assert ring.all() == []


def test_what_else_cannot_be(ring):
    for scopes, came in ([], "none"), (["read", "write"], "'write'"):
        with pytest.raises(RunError, match=f"some of read, adapt, admin, got {came}"):
            ring.create("k", scopes)
    for expires in (BEGAN, BEGAN - timedelta(days=1), datetime(2040, 1, 1)):
        with pytest.raises(RunError, match="must expire at a later moment, with time zone"):
            ring.create("k", ["read"], expires)
    assert ring.all() == []


def test_when_it_was_used_is_noted_once_a_minute(ring, clock):
    _, secret = ring.create("k", ["read"])

    def used():
        (key,) = ring.all()
        return (key.last_used - BEGAN).total_seconds()

    for seconds, noted in (0, 0), (59, 0), (1, 60), (30, 60), (3600, 3690):
        clock.pass_(seconds=seconds)
        assert ring.check(secret) is not None
        assert used() == noted
    assert ring.check(secret[:-1] + ("A" if secret[-1] != "A" else "E")) is None
    clock.pass_(hours=1)
    assert used() == 3690  # only who is let in has used it


def test_the_database_holds_no_secret(sqlite, caplog):
    """Not in a row, not in what SQLite leaves behind, not in a log that tells everything."""
    caplog.set_level(logging.DEBUG)
    with closing(KeyRing(sqlite)) as ring:
        key, secret = ring.create("laptop", ["read"])
        assert ring.check(secret).id == key.id
        with pytest.raises(RunError) as refused:
            ring.create("laptop", ["read"])
    files = list(Path(sqlite).parent.iterdir())
    raw = b"".join(file.read_bytes() for file in files)
    assert key.id.encode() in raw
    assert b"laptop" in raw
    letters = secret.rpartition(f"{key.id}_")[2]
    for length in (43, 20, 8):  # nor part of it
        assert letters[:length].encode() not in raw
    told = caplog.text + str(refused.value) + repr(key) + repr(refused.value.__cause__)
    assert letters[:8] not in told
    ((digest,),) = say(sqlite, "SELECT hash FROM keys")
    assert len(digest) == 64
    assert digest not in told


def test_checking_waits_for_no_writer(sqlite):
    with closing(KeyRing(sqlite)) as ring:
        _, secret = ring.create("k", ["read"])
        ring.check(secret)  # now its use is noted for a minute
        engine = create_engine(store_url(sqlite))
        with engine.begin() as connection:
            connection.execute(text("UPDATE keys SET revoked = '2030-01-01'"))  # not yet committed
            assert ring.check(secret).name == "k"
        engine.dispose()
        assert ring.check(secret) is None


def test_many_threads_share_a_ring(ring):
    secrets = [ring.create(f"k{number}", ["read"])[1] for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ring.check, secrets * 10))
    assert [key.name for key in found] == [f"k{number}" for number in range(8)] * 10


def test_many_who_want_one_name(ring):
    def make(_):
        try:
            return ring.create("laptop", ["read"])[0].id
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    (key,) = ring.all()
    assert made.count(key.id) == 1
    assert sum("a key named 'laptop' already" in said for said in made) == 7


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("keys") / "store.sqlite")
    with closing(KeyRing(path)) as made:
        yield made, *made.create("k", ["admin"])


LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=43)
ANY = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs too


@given(st.one_of(ANY, ANY.map(lambda end: f"qs_{end}"), LETTERS))
def test_no_text_opens_or_breaks_it(held, told):
    ring, key, secret = held
    for token in (told, f"qs_{key.id}_{told}", f"qs_0000000000_{told[:43]}", secret + told):
        assert ring.check(token) is None or token == secret


def test_odd_texts(held):
    ring, _, secret = held
    for token in ("\0", f"{secret}\0", f"\0{secret}", "é" * 58, "x" * 10**7, secret * 10**5):
        assert ring.check(token) is None
    # Digits and letters that only look like those of a key.
    assert ring.check(secret[:3] + "٠" * 10 + secret[13:]) is None


def refused(said, part):
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert part in said.err


def test_commands(call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    assert "no keys yet" in call("keys", "list").out
    assert call("keys", "list", "--json").json == []
    said = call("keys", "create", "--name", "laptop", "--scope", "read", "--scope", "adapt")
    assert said.code == 0
    secret = said.out.removesuffix("\n")  # that, and nothing else
    assert secret not in said.err
    assert "made laptop" in said.err
    with closing(KeyRing(url)) as ring:
        assert ring.check(secret).scopes == ("read", "adapt")
    made = call("keys", "create", "--name", "ci [x]", "--scope", "admin", "--expires", "2w",
                "--json").json  # fmt: skip
    lasts = datetime.fromisoformat(made["expires"]) - datetime.fromisoformat(made["created"])
    assert timedelta(weeks=2) - lasts < timedelta(seconds=5)
    with closing(KeyRing(url)) as ring:
        assert ring.check(made["key"]).id == made["id"]
    rows = call("keys", "list", "--json").json
    assert {row["name"]: row["state"] for row in rows} == {"laptop": "active", "ci [x]": "active"}
    shown = call("keys", "list").out
    assert "ci [x]" in shown
    assert "read, adapt" in shown
    for told in (shown, call("keys", "list", "--json").out):
        assert secret[14:] not in told
        assert "hash" not in told
    assert "laptop" in call("keys", "revoke", "laptop").out
    assert call("keys", "revoke", made["id"], "--json").json["state"] == "revoked"
    with closing(KeyRing(url)) as ring:
        assert ring.check(secret) is ring.check(made["key"]) is None
    refused(call("keys", "revoke", "nobody"), "no key with the id or name 'nobody'")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--name", "a"], "Missing option '--scope'"),
        (["--scope", "read"], "Missing option '--name'"),
        (["--name", "a", "--scope", "write"], "some of read, adapt, admin, got 'write'"),
        (["--name", "", "--scope", "read"], "1 to 64 printable characters"),
        (["--name", "a", "--scope", "read", "--expires", "soon"], "30d say, got 'soon'"),
        (["--name", "a", "--scope", "read", "--expires", "0d"], "30d say, got '0d'"),
        (["--name", "a", "--scope", "read", "--expires", "٣d"], "30d say, got"),
        (["--name", "a", "--scope", "read", "--expires", "99999w"], "30d say, got"),
    ],
)
def test_what_create_refuses(call, sqlite, monkeypatch, options, part):
    monkeypatch.setenv("QUICKSTUDY_STORE", sqlite)
    refused(call("keys", "create", *options), part)
    assert call("keys", "list", "--json").json == []


def test_help_has_examples(call):
    for command in ("create", "list", "revoke"):
        said = call("keys", command, "--help")
        assert said.code == 0
        assert f"quickstudy keys {command}" in said.out.split("Examples:")[1]
