"""Named models: contract over both databases, and the commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from hub.databases import say
from quickstudy.artefacts import read_manifest
from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub import versions
from quickstudy.hub.catalogue import load, save
from quickstudy.hub.runs import open_run
from quickstudy.hub.store.engine import store_url
from quickstudy.hub.store.models import ModelIndex
from quickstudy.learners import R2D2, ProtoNet
from quickstudy.nets import MLP


@pytest.fixture
def index(url):
    with closing(ModelIndex(url)) as made:
        yield made


def store(folder, cls=ProtoNet, seed=0, accuracy=0.5):
    """A stored model that no run trained."""
    torch.manual_seed(seed)
    metrics = {"validation": {"mean": accuracy, "metric": "accuracy"}, "control": {"mean": 0.25}}
    training = {"config": {"data": "blobs"}}
    save(folder, cls(MLP(2, [4], 4)), input_shape=(2,), metrics=metrics, training=training)
    return folder


def refused(said, *parts):
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    for part in parts:
        assert part in said.err


def standing(index, name="chars"):
    """Version to whether it is in production."""
    return {row.version: row.production for row in index.versions(name)}


def test_versions_and_which_is_in_production(index, tmp_path):
    a, b = store(tmp_path / "a", accuracy=0.75), store(tmp_path / "b", R2D2)
    one = index.promote(a, "chars")
    assert (one.name, one.version, one.folder, one.learner) == ("chars", 1, str(a), "ProtoNet")
    assert (one.digest, one.data, one.run_id) == (read_manifest(a).digest, "blobs", None)
    assert one.metrics["validation"] == {"mean": 0.75, "metric": "accuracy"}
    assert datetime.now(UTC) - one.created < timedelta(minutes=5)
    assert index.promote(b, "chars").version == 2
    assert index.promote(a, "shapes").version == 1
    assert standing(index) == {2: True, 1: False}
    assert (index.resolve("chars"), index.resolve("chars", 1)) == (b, a)
    back = index.go_back("chars", 1)
    assert (back.version, back.production) == (1, True)
    assert standing(index) == {2: False, 1: True}
    assert index.resolve("chars") == a
    assert index.find("chars").promoted > index.find("chars", 2).promoted
    assert [(row.name, row.version) for row in index.all()] == [
        ("chars", 2), ("chars", 1), ("shapes", 1)
    ]  # fmt: skip


def test_a_model_that_is_a_version_gets_no_second_number(index, tmp_path):
    a, b = store(tmp_path / "a"), store(tmp_path / "b", seed=1)
    assert [index.promote(f, "chars").version for f in (a, b, a, a)] == [1, 2, 1, 1]
    assert standing(index) == {2: False, 1: True}
    store(a, seed=2)  # another model in the same folder is another version
    assert index.promote(a, "chars").version == 3
    assert standing(index) == {3: True, 2: False, 1: False}


def test_a_relative_folder_is_found_from_anywhere(index, tmp_path, monkeypatch):
    store(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    index.promote("a", "chars")
    monkeypatch.chdir("/")
    assert index.resolve("chars") == tmp_path / "a"


@pytest.mark.parametrize("name", ["", "a/b", ".a", "-a", "a b", "ä", "a\0", "a\n", "n" * 65])
def test_names_that_cannot_be(index, tmp_path, name):
    with pytest.raises(RunError, match="must be letters, digits, dots, hyphens and underscores"):
        index.promote(store(tmp_path / "a"), name)
    assert index.all() == []
    with pytest.raises(RunError, match="there is no model called"):
        index.resolve(name)


def test_what_is_not_there(index, tmp_path):
    index.promote(store(tmp_path / "a"), "chars")
    for ask in (index.find, index.resolve, index.go_back):
        with pytest.raises(RunError, match="chars has no version 2; it has 1"):
            ask("chars", 2)
        with pytest.raises(RunError, match="there is no model called 'shapes'"):
            ask("shapes", 1)


def test_what_is_no_model_is_not_promoted(index, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no such folder"):
        index.promote(tmp_path / "none", "chars")
    with pytest.raises(ArtefactError, match=r"has no manifest.json"):
        index.promote(tmp_path / "empty", "chars")
    (weights,) = store(tmp_path / "a").glob("weights-*")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtefactError, match="is damaged"):
        index.promote(tmp_path / "a", "chars")
    assert index.all() == []


def test_a_folder_that_changed_is_not_handed_out(index, tmp_path):
    a, b = store(tmp_path / "a"), store(tmp_path / "b", seed=1)
    for folder in (a, b):
        index.promote(folder, "chars")
    digest = read_manifest(b).digest
    store(b, seed=2)
    said = f"version 2 is changed: {b} holds another model now: its digest begins "
    for ask in (index.resolve, index.go_back):
        with pytest.raises(RunError, match=said):
            ask("chars", 2)
    assert versions.described(index, "chars")["model"] is None  # what lies there is another's
    store(b, seed=1)
    assert read_manifest(b).digest == digest
    assert index.resolve("chars") == b  # it is what it was
    shutil.rmtree(b)
    with pytest.raises(RunError, match=f"version 2 is missing: there is no model in {b} any more"):
        index.resolve("chars")
    (weights,) = a.glob("weights-*")
    os.truncate(weights, 10)
    with pytest.raises(RunError, match=r"version 1 is damaged: .* is gone or was cut"):
        index.go_back("chars", 1)
    assert standing(index) == {2: True, 1: False}
    (a / "manifest.json").write_text("{}")
    states = [(row["state"], row["version"]) for row in versions.listed(index)]
    assert states == [("missing", 2)]
    assert [r["state"] for r in versions.described(index, "chars")["versions"]] == [
        "missing", "damaged"
    ]  # fmt: skip


def test_metrics_and_notes_may_change(index, tmp_path):
    """What the model answers rests on none of them."""
    index.promote(store(tmp_path / "a", accuracy=0.5), "chars")
    store(tmp_path / "a", accuracy=0.6)
    assert index.resolve("chars") == tmp_path / "a"


def test_versions_and_names_are_forgotten(index, tmp_path):
    for seed in range(3):
        index.promote(store(tmp_path / str(seed), seed=seed), "chars")
    index.go_back("chars", 2)
    with pytest.raises(RunError, match="version 2 is in production; put another there before"):
        index.remove("chars", 2)
    assert [row.version for row in index.remove("chars", 3)] == [3]
    assert standing(index) == {2: True, 1: False}
    with pytest.raises(RunError, match="has no version 3"):
        index.remove("chars", 3)
    assert [row.version for row in index.remove("chars")] == [2, 1]
    assert index.all() == []
    assert (tmp_path / "2" / "manifest.json").is_file()


def test_many_who_promote_at_once(index, tmp_path):
    folders = [store(tmp_path / f"m{number}", seed=number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda folder: index.promote(folder, "chars"), folders))
    assert sorted(row.version for row in made) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(standing(index).values()).count(True) == 1
    assert {row.folder for row in index.versions("chars")} == set(map(str, folders))


def test_two_in_production_are_refused_by_the_database(url, index, tmp_path):
    for seed in range(2):
        index.promote(store(tmp_path / str(seed), seed=seed), "chars")
    with pytest.raises(IntegrityError):
        say(url, "UPDATE models SET production = true")


def test_asking_waits_for_no_writer(sqlite, tmp_path):
    with closing(ModelIndex(sqlite)) as index:
        index.promote(store(tmp_path / "a"), "chars")
        engine = create_engine(store_url(sqlite))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM models"))  # and not committed yet
            assert index.resolve("chars") == tmp_path / "a"
        engine.dispose()


def test_commands(call, monkeypatch, url, trained, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(trained, "run"))
    assert "no models yet" in call("models", "list").out
    assert call("models", "list", "--json").json == []
    said = call("models", "promote", "run", "--name", "chars")
    assert (said.code, said.out) == (0, "chars version 1 is in production: run\n")
    other = store(tmp_path / "other", R2D2)
    assert call("models", "promote", other, "--name", "chars", "--json").json["version"] == 2
    (row,) = call("models", "list", "--json").json
    assert (row["version"], row["versions"], row["state"]) == (2, [1, 2], "ready")
    assert call("models", "promote", "chars", "--version", "1").code == 0
    (row,) = call("models", "list", "--json").json
    report = json.loads((run / "report.json").read_text())
    assert (row["version"], row["learner"]) == (1, "ProtoNet")
    assert row["validation"] == report["validation"]["mean"]
    assert row["control"] == report["control"]["mean"]
    shown = call("models", "list").out
    for part in ("chars", "1 of 2", "ProtoNet", "photos", "run", "ready"):
        assert part in shown
    told = call("models", "show", "chars", "--json").json
    assert told["run"] == told["origin"]["id"] == open_run(run).id
    assert told["origin"] == open_run(run).origin
    assert told["folder"] == str(tmp_path / "run")
    assert told["model"]["learner"]["name"] == "ProtoNet"
    assert told["metrics"]["control"] == report["control"]
    assert [(v["version"], v["production"]) for v in told["versions"]] == [(2, False), (1, True)]
    shown = call("models", "show", "chars", "--version", "2").out
    for part in ("version: 2", "learner: R2D2", "1 (production)", f"folder: {other}"):
        assert part in shown
    shutil.rmtree(run)
    said = call("models", "list")
    assert said.code == 0
    assert "missing" in said.out
    assert f"note: chars version 1 is missing: there is no model in {tmp_path / 'run'}" in said.err
    refused(call("models", "export", "chars", "out"), "chars version 1 is missing")
    assert not Path("out").exists()


def test_what_is_in_production_is_not_removed_by_the_way(call, monkeypatch, url, trained, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    assert call("models", "promote", "run", "--name", "chars").code == 0
    words = "run holds chars version 1, which is in production", "quickstudy models rm chars"
    refused(call("runs", "rm", "run", "--yes"), *words)
    assert Path("run/manifest.json").is_file()
    refused(call("models", "rm", "chars"), "nobody is here to ask whether chars", "--yes")
    said = call("models", "rm", "chars", "--yes")
    assert (said.code, said.out) == (0, "forgot chars version 1: run\n")
    refused(call("models", "rm", "chars", "--yes"), "there is no model called 'chars'")
    assert call("runs", "rm", "run", "--yes").code == 0
    assert not Path("run").exists()


def test_what_promote_refuses(call, monkeypatch, sqlite, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", sqlite)
    a = store(tmp_path / "a")
    refused(call("models", "promote", a), "promote RUN --name NAME")
    refused(call("models", "promote", a, "--name", "x", "--version", "1"), "say either")
    refused(call("models", "promote", a, "--version", "1"), "there is no model called")
    refused(call("models", "promote", a, "--name", "x/y"), "got 'x/y'")
    refused(call("models", "promote", tmp_path / "none", "--name", "x"), "no such folder")
    refused(call("models", "show", "x"), "there is no model called 'x'", "models promote RUN")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text("{}")
    refused(call("models", "promote", unfinished, "--name", "x"), "its training has not ended")
    assert call("models", "list", "--json").json == []


def test_a_model_that_this_release_cannot_load_is_not_promoted(call, monkeypatch, sqlite, tmp_path):
    from quickstudy.artefacts import save_model

    class Tomorrow(ProtoNet):
        pass

    monkeypatch.setenv("QUICKSTUDY_STORE", sqlite)
    catalogue = {"Tomorrow": Tomorrow, "MLP": MLP}
    save_model(tmp_path / "a", Tomorrow(MLP(2, [4], 4)), catalogue=catalogue)
    refused(call("models", "promote", tmp_path / "a", "--name", "x"), "'Tomorrow' is unknown")
    assert call("models", "list", "--json").json == []


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_export(call, monkeypatch, url, trained, photos, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    monkeypatch.chdir(tmp_path)
    assert call("models", "promote", trained, "--name", "chars").code == 0
    said = call("models", "export", "chars", "deep/out", "--json").json
    out = tmp_path / "deep" / "out"
    assert (said["name"], said["version"], said["folder"]) == ("chars", 1, str(out))
    assert said["digest"] == read_manifest(trained).digest == read_manifest(out).digest
    (weights,) = trained.glob("weights-*")
    assert contents(out) == {
        "manifest.json": (trained / "manifest.json").read_bytes(),
        weights.name: weights.read_bytes(),
    }
    here, there = load(trained).state_dict(), load(out).state_dict()
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    # What was adapted with the one is answered with the other.
    assert call("adapt", trained, "--support", photos, "--out", "s").code == 0
    picture = next(photos.rglob("*.png"))
    answers = call("predict", "s", picture, "--json").json
    assert call("predict", "s", picture, "--model", out, "--json").json == answers
    assert call("adapt", out, "--support", photos, "--out", "s2").code == 0
    assert call("models", "promote", out, "--name", "copy").code == 0


def test_export_replaces_a_model_only_if_told(call, monkeypatch, sqlite, trained, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", sqlite)
    monkeypatch.chdir(tmp_path)
    a, b, out = store(tmp_path / "a"), store(tmp_path / "b", R2D2), tmp_path / "out"
    assert call("models", "export", "./a", out).code == 0
    before = contents(out)
    refused(call("models", "export", "b", out), "out exists; name another folder, or replace it")
    assert contents(out) == before
    assert call("models", "export", "b", out, "--overwrite").code == 0  # no model is called b
    assert contents(out) == contents(b)
    # A name goes before a folder of that name.
    assert call("models", "promote", a, "--name", "b").code == 0
    assert call("models", "export", "b", out, "--overwrite").code == 0
    assert contents(out) == contents(a)
    refused(call("models", "export", "./b", a, "--version", "1"), "./b is a folder")
    refused(call("models", "export", "b", a, "--overwrite"), "is the model's own folder")
    run = Path(shutil.copytree(trained, "run"))
    refused(call("models", "export", "b", run, "--overwrite"), "is a run; wanted a new or empty")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    refused(call("models", "export", "b", "mine", "--overwrite"), "mine holds other files")
    (tmp_path / "mine" / "manifest.json").write_text('{"name": "my web app"}')
    refused(call("models", "export", "b", "mine", "--overwrite"), "nothing of quickstudy's")
    refused(call("models", "export", "b", tmp_path / "mine" / "diary.txt"), "is a file")
    refused(call("models", "export", "b", "/proc/none/out"), "cannot write")
    refused(call("models", "export", "none", "new"), "there is no model called 'none'")
    assert sorted(os.listdir(tmp_path / "mine")) == ["diary.txt", "manifest.json"]
    assert not (tmp_path / "new").exists()


def test_a_damaged_model_is_not_exported(call, monkeypatch, sqlite, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", sqlite)
    a = store(tmp_path / "a")
    assert call("models", "promote", a, "--name", "chars").code == 0
    (weights,) = a.glob("weights-*")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # the manifest does not show it
    refused(call("models", "export", "chars", tmp_path / "out"), "is damaged", "SHA-256")
    assert not (tmp_path / "out").exists()
    weights.write_bytes(whole)
    store(a, seed=1)
    refused(call("models", "export", "chars", tmp_path / "out"), "is changed", "another model now")
    assert not (tmp_path / "out").exists()


EXPORTER = """
import sys
from pathlib import Path
from quickstudy.artefacts import copy_model
print("ready", flush=True)
while True:
    for source in sys.argv[2:]:
        copy_model(source, sys.argv[1])
"""


def test_an_export_that_is_killed_leaves_a_whole_model(tmp_path):
    a, b, out = store(tmp_path / "a"), store(tmp_path / "b", seed=1), tmp_path / "out"
    digests = {read_manifest(folder).digest for folder in (a, b)}
    command = [sys.executable, "-c", EXPORTER, str(out), str(a), str(b)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            while not out.exists():
                assert process.poll() is None
            for _ in range(50):
                load(out)
                assert read_manifest(out).digest in digests
        finally:
            process.send_signal(signal.SIGKILL)
    load(out)
    assert read_manifest(out).digest in digests


def test_help_has_examples(call):
    for command in ("list", "show", "promote", "export", "rm"):
        said = call("models", command, "--help")
        assert said.code == 0
        assert f"quickstudy models {command}" in said.out.split("Examples:")[1]
