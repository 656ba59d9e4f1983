import hashlib
import os

import numpy as np
import pytest
from tests.data.loopback import Server, files, says, serves

from quickstudy.data import cache, sources
from quickstudy.data.download import Patience, Remote
from quickstudy.data.sources import Listing, list_sources, obtain
from quickstudy.errors import DataError

ONCE = Patience(timeout=5, attempts=1, pause=0)
CONTENTS = {"a.bin": bytes(range(200)) * 50, "b.bin": b"letters"}


def test_sources_are_found_where_they_lie(tmp_path):
    assert {(s.path, s.size) for s in list_sources(tmp_path)} == {(None, 0)}
    cache.write_arrays(tmp_path / "omniglot_28.npz", {"a": np.zeros(3)})
    glyphs, omniglot, fashion, photos, films = list_sources(tmp_path)
    assert (glyphs.name, glyphs.path) == ("glyphs", None)
    assert (omniglot.name, omniglot.path) == ("omniglot", tmp_path / "omniglot_28.npz")
    assert omniglot.size == (tmp_path / "omniglot_28.npz").stat().st_size > 0
    assert (fashion.name, fashion.path) == ("fashion", None)
    assert (photos.name, photos.path, photos.download) == ("grocery", None, 0)
    assert (films.name, films.path) == ("movielens", None)


def test_every_source_says_what_it_is():
    for listing in list_sources():
        assert all((listing.name, listing.what, listing.origin, listing.licence, listing.file))
    bytes_of = {listing.name: listing.download for listing in list_sources()}
    assert bytes_of == {
        "glyphs": 0,
        "omniglot": 15_927_098,
        "fashion": 4_427_250,
        "grocery": 0,
        "movielens": 978_202,
    }


def test_what_is_published_is_addressed_safely():
    for listing in list_sources():
        assert listing.published == bool(listing.convert)
        assert not (listing.remotes and listing.checkout)
        if listing.checkout:
            assert listing.checkout.url.startswith("https://")
        for remote in listing.remotes:
            assert remote.url.startswith("https://")
            assert len(bytes.fromhex(remote.sha256)) == 32
            assert 0 < remote.size < 10**8
            assert remote.name


def numbers(paths):
    """A collection's conversion: what the files hold, as arrays."""
    return {
        name.removesuffix(".bin"): np.frombuffer(path.read_bytes(), np.uint8)
        for name, path in paths.items()
    }


@pytest.fixture
def collection(monkeypatch):
    """A function that makes the collection "letters" known, as published at an address."""
    monkeypatch.setenv("no_proxy", "*")

    def publish(url, convert=numbers):
        remotes = tuple(
            Remote(f"{url}/{name}", len(content), hashlib.sha256(content).hexdigest())
            for name, content in CONTENTS.items()
        )
        listing = Listing("letters", "two", "here", "MIT", "letters.npz", remotes, convert)
        monkeypatch.setattr(sources, "LISTINGS", (listing,))

    return publish


def is_right(path):
    arrays = cache.read_arrays(path)
    return {name: array.tobytes() for name, array in arrays.items()} == {
        "a": CONTENTS["a.bin"],
        "b": CONTENTS["b.bin"],
    }


def test_a_collection_is_fetched_converted_and_tidied_up(tmp_path, collection):
    told = []
    with Server(files(CONTENTS)) as server:
        collection(server.url)
        path = obtain("letters", tmp_path / "cache", progress=lambda *said: told.append(said))
        assert path == tmp_path / "cache" / "letters.npz"
        assert is_right(path)
        assert os.listdir(tmp_path / "cache") == ["letters.npz"]
        assert told[0] == ("a.bin", 0, 10_000)
        assert told[-1] == ("b.bin", 7, 7)
        assert obtain("letters", tmp_path / "cache") == path
        assert len(server.requests) == 2


def test_what_came_before_trouble_is_not_fetched_again(tmp_path, collection):
    first = serves(CONTENTS["a.bin"])
    with Server(first, serves(CONTENTS["b.bin"], cut=3), serves(CONTENTS["b.bin"])) as server:
        collection(server.url)
        with pytest.raises(DataError, match="3 of 7 bytes are kept for the next time") as error:
            obtain("letters", tmp_path, patience=ONCE)
        assert "`quickstudy data prepare --from` takes it from a mirror" in str(error.value)
        assert not (tmp_path / "letters.npz").exists()
        assert is_right(obtain("letters", tmp_path, patience=ONCE))
        asked = [(request.path, request.start) for request in server.requests]
        assert asked == [("/a.bin", 0), ("/b.bin", 0), ("/b.bin", 3)]
        assert os.listdir(tmp_path) == ["letters.npz"]


def test_a_mirror_is_an_address(tmp_path, collection):
    collection("https://publisher.invalid/data")
    with Server(files(CONTENTS)) as server:
        assert is_right(obtain("letters", tmp_path, mirror=f"{server.url}/copies/"))
        assert server.requests[0].path == "/copies/a.bin"
    with Server(says("404 Not Found")) as server, pytest.raises(DataError) as error:
        obtain("letters", tmp_path / "other", mirror=server.url)
    said = f"cannot fetch {server.url}/a.bin: the server says 404 Not Found"
    assert str(error.value) == said
    assert os.listdir(tmp_path / "other") == []


def test_a_mirror_is_a_folder(tmp_path, collection):
    collection("https://publisher.invalid/data")
    folder = tmp_path / "copies"
    folder.mkdir()
    for name, content in CONTENTS.items():
        with pytest.raises(DataError, match=f"cannot read .*{name}: No such file"):
            obtain("letters", tmp_path / "cache", mirror=str(folder))
        (folder / name).write_bytes(content)
    assert is_right(obtain("letters", tmp_path / "cache", mirror=str(folder)))
    assert os.listdir(tmp_path / "cache") == ["letters.npz"]
    assert sorted(os.listdir(folder)) == ["a.bin", "b.bin"]
    (folder / "b.bin").write_bytes(b"lettuce")
    with pytest.raises(DataError, match=r"b\.bin must have the sha256 .*, got "):
        obtain("letters", tmp_path / "other", mirror=str(folder))
    assert os.listdir(tmp_path / "other") == []


def test_a_mirror_is_nothing_else(tmp_path, collection):
    collection("https://publisher.invalid/data")
    for mirror in ("ftp://example.org", "file:///tmp"):
        with pytest.raises(DataError, match="an address must begin with http:// or https://"):
            obtain("letters", tmp_path, mirror=mirror)


def test_a_conversion_that_fails_leaves_the_files_but_no_collection(tmp_path, collection):
    def refuses(paths):
        raise DataError("these are no letters")

    with Server(files(CONTENTS)) as server:
        collection(server.url, refuses)
        with pytest.raises(DataError, match="these are no letters"):
            obtain("letters", tmp_path)
        assert not (tmp_path / "letters.npz").exists()
        collection(server.url)
        assert is_right(obtain("letters", tmp_path))
        assert len(server.requests) == 2


def test_a_cache_that_cannot_be_written(tmp_path, collection):
    collection("https://publisher.invalid/data")
    with pytest.raises(DataError, match=r"^/dev/null/x cannot be written; name a data cache with"):
        obtain("letters", "/dev/null/x")


def test_what_is_not_published():
    with pytest.raises(
        DataError, match="what is published is omniglot, fashion, grocery, movielens; got 'letters'"
    ):
        obtain("letters")
