"""`quickstudy data prepare` on collections that are published, here by a server on this machine."""

import gzip
import hashlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.data import groceries, movielens
from tests.data.loopback import Server, files, says

from hub.folders import SMALL
from quickstudy.data import sources
from quickstudy.data.fashion import FASHION_FILE, FASHION_REMOTES
from quickstudy.data.grocery import GROCERY_CHECKOUT, GROCERY_FILE, convert_grocery
from quickstudy.data.movielens import FILMS_FILE, MOVIELENS_REMOTES, RATINGS_FILE
from quickstudy.errors import DataError
from quickstudy.hub.sources import open_source


def published():
    """Fashion-MNIST's files with other pictures in them: name to content."""
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    images = np.repeat(labels, 784) * 25
    heads = (bytes([0, 0, 8, 3, 0, 0, 39, 16, 0, 0, 0, 28, 0, 0, 0, 28]), bytes([0, 0, 8, 1, 0, 0]))
    return {
        FASHION_REMOTES[0].name: gzip.compress(heads[0] + images.tobytes(), mtime=0),
        FASHION_REMOTES[1].name: gzip.compress(
            heads[1] + bytes([39, 16]) + labels.tobytes(), mtime=0
        ),
    }


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A new data cache, and a publisher without an address whose files are those of `published`."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("QUICKSTUDY_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("no_proxy", "*")
    contents = published()
    remotes = tuple(
        remote._replace(
            url=f"https://publisher.invalid/{remote.name}",
            size=len(contents[remote.name]),
            sha256=hashlib.sha256(contents[remote.name]).hexdigest(),
        )
        for remote in FASHION_REMOTES
    )
    changed = tuple(
        row._replace(remotes=remotes) if row.name == "fashion" else row for row in sources.LISTINGS
    )
    monkeypatch.setattr(sources, "LISTINGS", changed)
    return folder


def test_from_a_server(cache, call):
    (row,) = (row for row in call("data", "list", "--json").json if row["name"] == "fashion")
    assert row["downloadable"] is True
    assert row["download_bytes"] == sum(map(len, published().values()))
    assert (row["path"], row["bytes"], row["licence"]) == (None, 0, "MIT")
    assert "zalandoresearch" in row["origin"]
    assert "`data prepare fashion` fetches" in call("data", "list").out
    with Server(files(published())) as server:
        said = call("data", "prepare", "fashion", "--from", server.url)
        assert (said.code, said.out) == (0, f"fashion is ready: {cache / FASHION_FILE}\n")
        assert said.err.startswith("fetching and converting fashion, ")
        assert len(said.err.splitlines()) == 1
        again = call("data", "prepare", "fashion", "--json")
        assert len(server.requests) == 2
    size = (cache / FASHION_FILE).stat().st_size
    assert again.json == {"data": "fashion", "path": str(cache / FASHION_FILE), "bytes": size}
    assert again.err == ""
    assert os.listdir(cache) == [FASHION_FILE]
    shown = call("data", "show", "fashion", "--json").json
    assert shown["test"]["classes"] == 10


def test_from_a_folder(cache, call, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    for name, content in published().items():
        (copies / name).write_bytes(content)
    said = call("data", "prepare", "Fashion", "--from", copies, "--json")
    assert said.code == 0, said.err
    assert said.json["path"] == str(cache / FASHION_FILE)
    assert len(list(copies.iterdir())) == 2


def refused(said, *parts):
    assert said.code == 2
    assert said.out == ""
    *before, last = said.err.splitlines()
    assert all(line.startswith("fetching and converting") for line in before)
    assert last.startswith("error: ")
    for part in parts:
        assert part in last


def test_what_cannot_be_fetched(cache, call, tmp_path, photos):
    first = FASHION_REMOTES[0].name
    with Server(says("404 Not Found")) as server:
        said = call("data", "prepare", "fashion", "--from", server.url)
        refused(said, f"cannot fetch {server.url}/{first}: the server says 404 Not Found")
    prepare = ("data", "prepare", "fashion", "--from")
    refused(call(*prepare, tmp_path / "none"), f"cannot read {tmp_path / 'none' / first}: No such")
    refused(call(*prepare, "ftp://example.org"), "an address must begin with http:// or https://")
    shutil.copy(__file__, tmp_path / first)
    refused(call(*prepare, tmp_path), f"{tmp_path / first} must have ", " bytes, got ")
    assert list(cache.iterdir()) == []
    for data in ("glyphs", "blobs", photos):
        said = call("data", "prepare", data, "--from", tmp_path)
        refused(
            said, "--from is for omniglot, fashion, grocery, movielens; ", f"{data} is not fetched"
        )
    refused(call("data", "prepare", "fashoin"), "did you mean fashion?")


def test_tables_lie_beside_each_other_and_are_no_tasks(cache, call, tmp_path, monkeypatch, need):
    need.package("pyarrow")
    content = movielens.packed(movielens.tables())
    (tmp_path / "ml-latest-small.zip").write_bytes(content)
    remote = MOVIELENS_REMOTES[0]._replace(
        size=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    changed = tuple(
        row._replace(remotes=(remote,)) if row.name == "movielens" else row
        for row in sources.LISTINGS
    )
    monkeypatch.setattr(sources, "LISTINGS", changed)
    said = call("data", "prepare", "movielens", "--from", tmp_path)
    ratings, films = cache / RATINGS_FILE, cache / FILMS_FILE
    assert (said.code, said.out) == (0, f"movielens is ready: {ratings}, {films}\n")
    told = call("data", "prepare", "movielens", "--json").json
    assert told["path"] == str(ratings)
    assert told["bytes"] == ratings.stat().st_size + films.stat().st_size
    refused(call("data", "show", "movielens"), "`quickstudy recommend` takes it")


def test_a_cache_that_cannot_be_written(cache, call, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", "/proc/nobody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    said = call("data", "prepare", "fashion", "--from", "/tmp")
    refused(said, "/proc/nobody, /dev/null/quickstudy cannot be written", "$QUICKSTUDY_DATA")


def test_fashion_is_there_to_judge_on(need):
    need.data(FASHION_FILE)
    source = open_source("fashion")
    assert source.input_shape == (1, 28, 28)
    assert source.facts()["all"]["images"] == 10_000
    source.tasks("test", 5, 1, 5)
    source.tasks("all", 10, 5, 5)
    with pytest.raises(DataError, match="fashion has no split 'train'; it has test, all"):
        source.tasks("train", 5, 1, 5)


@pytest.fixture
def few_photos(monkeypatch):
    """The repository is one of few photos."""

    def convert(files):
        return convert_grocery(files, groceries.photos_named())

    changed = tuple(
        row._replace(convert=convert) if row.name == "grocery" else row for row in sources.LISTINGS
    )
    monkeypatch.setattr(sources, "LISTINGS", changed)


def test_a_checkout_is_converted_and_learned(cache, few_photos, call, tmp_path):
    """From the publisher's repository to answers about a user's photos, of other sizes."""
    (row,) = (row for row in call("data", "list", "--json").json if row["name"] == "grocery")
    assert (row["downloadable"], row["repository"]) == (False, GROCERY_CHECKOUT.url)
    assert "--from CHECKOUT` converts https://github.com/" in call("data", "list").out
    for given in ([], ["--from", "https://example.org"], ["--from", tmp_path / "none"]):
        said = call("data", "prepare", "grocery", *given)
        assert (said.code, said.out) == (2, "")
        assert said.err.splitlines()[0] == "converting grocery"
        assert f"`git clone {GROCERY_CHECKOUT.url}`, then `quickstudy data" in said.err
    refused(call("data", "show", "grocery"), "are not in the data cache", "`git clone https://")
    folder = groceries.checkout(tmp_path / "GroceryStoreDataset")
    said = call("data", "prepare", "grocery", "--from", folder)
    assert (said.code, said.out) == (0, f"grocery is ready: {cache / GROCERY_FILE}\n")
    assert os.listdir(cache) == [GROCERY_FILE]
    again = call("data", "prepare", "grocery", "--from", tmp_path / "none")
    assert f"(it was there already: {tmp_path / 'none'} was not looked at)" in again.out
    assert "4 classes, 24 images, 6 a class: " in call("data", "show", "grocery").out

    run, mine = tmp_path / "run", tmp_path / "mine"
    said = call("train", "--data", "grocery", *SMALL, "--steps", 3, "--rotations", "--out", run)
    assert said.code == 0, said.err
    result = call("evaluate", run, "--tasks", 20, "--ways", 4, "--json").json
    assert (result["data"], result["split"], result["ways"]) == ("grocery", "test", 4)
    assert result["control"]["accuracy"] > 0.95  # each kind has a colour of its own
    for label, colour in (("red", (220, 30, 20)), ("green", (30, 200, 40))):
        (mine / label).mkdir(parents=True)
        Image.new("RGB", (300, 200), colour).save(mine / label / "one.jpg")
    said = call("adapt", run, "--support", mine, "--out", tmp_path / "mine.state")
    assert said.code == 0, said.err
    told = call("predict", tmp_path / "mine.state", mine / "red" / "one.jpg", "--json").json
    assert told[0]["label"] == "red"


@pytest.mark.parametrize(
    "options",
    [
        ["--learner", "protonet", "--width", "2"],
        ["--learner", "maml", "--width", "2", "--inner-steps", "1"],
        ["--backbone", "resnet12", "--width", "2"],
        ["--warp", "affine", "--down", "stride", "--width", "2"],
    ],
)
def test_nets_that_take_photos(cache, few_photos, call, tmp_path, options):
    folder = groceries.checkout(tmp_path / "GroceryStoreDataset")
    assert call("data", "prepare", "grocery", "--from", folder).code == 0
    sizes = ["--ways", 2, "--queries", 2, "--validation-tasks", 2, "--threads", 1, "--steps", 2]
    said = call("train", "--data", "grocery", *options, *sizes, "--out", tmp_path / "run", "--json")
    assert said.code == 0, said.err
    row = call("evaluate", tmp_path / "run", "--tasks", 4, "--json").json
    assert 0 <= row["accuracy"] <= 1
