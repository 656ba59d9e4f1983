"""MovieLens, fetched from a server on this machine and converted."""

import hashlib
import io
import os
import sys

import pytest
from tests.data import movielens
from tests.data.loopback import Server, files, says, serves

from quickstudy import recommend
from quickstudy.data import sources
from quickstudy.data.download import Patience
from quickstudy.data.movielens import (
    FILMS_FILE,
    MOVIELENS_REMOTES,
    RATINGS_FILE,
    convert_movielens,
)
from quickstudy.data.sources import list_sources, obtain
from quickstudy.errors import DataError

NAME = MOVIELENS_REMOTES[0].name
CONTENT = movielens.packed(movielens.tables())
ONCE = Patience(timeout=5, attempts=1, pause=0)


@pytest.fixture
def published(monkeypatch, need):
    """A function that makes these bytes what MovieLens's publisher has at an address."""
    need.package("pyarrow")
    monkeypatch.setenv("no_proxy", "*")

    def publish(url, content=CONTENT):
        remote = MOVIELENS_REMOTES[0]._replace(
            url=f"{url}/{NAME}", size=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        changed = [
            row._replace(remotes=(remote,)) if row.name == "movielens" else row
            for row in list_sources("no/such/folder")
        ]
        monkeypatch.setattr(sources, "LISTINGS", tuple(changed))

    return publish


def test_it_is_fetched_converted_and_read(tmp_path, published):
    with Server(files({NAME: CONTENT})) as server:
        published(server.url)
        log, films = recommend.movielens(tmp_path)
        assert sorted(os.listdir(tmp_path)) == [FILMS_FILE, RATINGS_FILE]
        recommend.movielens(tmp_path)
        assert len(server.requests) == 1
    assert (len(log.user), log.scale) == (36, (0.5, 4.5))
    assert log.items == films.names == ["1", "2", "7"]
    assert list(films.tags) == ["genres=(no genres listed)", "genres=Adventure", "genres=Children",
                          "genres=Crime"]  # fmt: skip
    assert films.numbers.any(axis=1).all()  # the years of the titles


def test_an_interrupted_download_goes_on(tmp_path, published):
    with Server(serves(CONTENT, cut=200), serves(CONTENT)) as server:
        published(server.url)
        with pytest.raises(DataError, match=f"200 of {len(CONTENT)} bytes are kept"):
            obtain("movielens", tmp_path, patience=ONCE)
        assert list_sources(tmp_path)[-1].path is None
        assert obtain("movielens", tmp_path) == tmp_path / RATINGS_FILE
        assert [request.start for request in server.requests] == [0, 200]
    here = list_sources(tmp_path)[-1]
    assert here.path == tmp_path / RATINGS_FILE
    assert here.size == sum((tmp_path / name).stat().st_size for name in os.listdir(tmp_path))


def test_another_file_is_refused(tmp_path, published):
    other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with Server(says("200 OK", other)) as server:
        published(server.url)
        with pytest.raises(DataError, match="of sha256 "):
            recommend.movielens(tmp_path)
    assert os.listdir(tmp_path) == []


def test_half_of_it_is_not_it(tmp_path, published):
    with Server(files({NAME: CONTENT})) as server:
        published(server.url)
        path = obtain("movielens", tmp_path)
        (tmp_path / FILMS_FILE).unlink()
        assert list_sources(tmp_path)[-1].path is None
        assert obtain("movielens", tmp_path) == path
        assert (tmp_path / FILMS_FILE).is_file()


def test_without_pyarrow_nothing_is_fetched(tmp_path, published, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what an import of it then finds
    with Server(files({NAME: CONTENT})) as server:
        published(server.url)
        with pytest.raises(DataError, match=r"not installed: pip install 'quickstudy\[tables\]'"):
            recommend.movielens(tmp_path)
        assert server.requests == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "is no whole zip file"),
        (movielens.packed({"ratings.csv": "userId\n1\n"}), "ratings.csv in .* must have userId, "),
        (movielens.packed({"movies.csv": ""}), "must hold one ratings.csv, got 0"),
        (movielens.packed({**movielens.tables(), "a/movies.csv": ""}), "one movies.csv, got 2"),
        (
            movielens.packed({**movielens.tables(), "ratings.csv": "userId,movieId,rating,timestamp"
                                                                   "\n1,2,good,4\n"}),
            "CSV conversion error",
        ),
        (
            movielens.packed({**movielens.tables(), "ratings.csv": "9" * (2**26 + 1)}),
            "ratings.csv in .* must be a table of at most",
        ),
    ],
)  # fmt: skip
def test_what_is_not_movielens_is_one_clear_error(tmp_path, need, content, said):
    need.package("pyarrow")
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        convert_movielens({NAME: tmp_path / NAME})
    assert "\n" not in str(error.value)


def test_the_real_tables_survive(tmp_path, need):
    """The real tables, written as they are published, come out as they are in the cache."""
    need.package("pyarrow")
    from pyarrow import csv, parquet

    held = {name: parquet.read_table(need.data(name)) for name in (RATINGS_FILE, FILMS_FILE)}
    entries = {}
    for entry, table in zip(("ratings.csv", "movies.csv"), held.values(), strict=True):
        written = io.BytesIO()
        csv.write_csv(table, written)
        entries[entry] = written.getvalue()
    (tmp_path / NAME).write_bytes(movielens.packed(entries))
    found = convert_movielens({NAME: tmp_path / NAME})
    for name, table in held.items():
        assert found[name].equals(table)
    counts = found[RATINGS_FILE].num_rows, len(found[RATINGS_FILE]["userId"].unique())
    assert (*counts, found[FILMS_FILE].num_rows) == (100_836, 610, 9_742)
