import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from hub.databases import say
from quickstudy.errors import RunError
from quickstudy.hub.config import TrainConfig, make_config
from quickstudy.hub.runs import create_run, open_run
from quickstudy.hub.store import migrations
from quickstudy.hub.store.engine import HEAD, make_engine, store_url
from quickstudy.hub.store.runs import RunIndex, row_of_run
from quickstudy.hub.store.tables import Base
from quickstudy.hub.training import Stepped, train

QUICK = ["--data", "blobs", "--steps", "8", "--validation-tasks", "3", "--threads", "1"]
PROGRAM = [sys.executable, "-m", "quickstudy"]


@pytest.fixture
def index(url):
    with closing(RunIndex(url)) as made:
        yield made


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_STORE", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store_url().database == str(tmp_path / "quickstudy" / "runs.sqlite")
    monkeypatch.setenv("QUICKSTUDY_STORE", "sqlite:///there.sqlite")
    assert store_url().database == "there.sqlite"
    assert store_url("~/mine.sqlite").database == os.path.expanduser("~/mine.sqlite")
    assert store_url("postgresql://me:pw@db/hub").drivername == "postgresql+psycopg"
    for wrong in ("mysql://db/hub", "://", "http://x"):
        with pytest.raises(RunError, match=r"the store must be a file, sqlite:///FILE or postgres"):
            store_url(wrong)


def test_the_schema_is_what_the_classes_say(url):
    """What migrations make equals what the classes want, column by column and index by index."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = make_engine(store_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, Base.metadata) == []
    assert {"runs", "keys", "models"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_a_file_that_is_no_store(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes, and nothing like a database in them\n" * 50)
    with pytest.raises(RunError, match=r"the store .*notes.txt cannot be used: file is not a data"):
        RunIndex(str(path))
    assert path.read_text().startswith("my notes")
    with pytest.raises(ValueError, match=r"cannot write /proc/none"):
        RunIndex("/proc/none/store.sqlite")


def test_a_server_that_is_not_there():
    with pytest.raises(RunError, match=r"the store postgresql.*@127.0.0.1:1/hub cannot be used"):
        RunIndex("postgresql://me:secret@127.0.0.1:1/hub")


def test_a_store_of_a_newer_release(url):
    RunIndex(url).close()
    say(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        RunError, match=r"a newer quickstudy made the store .* \(its schema is 9999"
    ):
        RunIndex(url)


def test_a_store_of_an_older_release_keeps_its_runs(url, tmp_path):
    """Each revision is made from the one before, and what was there stays."""
    from alembic import command
    from alembic.config import Config

    run = create_run(tmp_path / "run", make_config({"data": "blobs"}))
    with closing(RunIndex(url)) as index:
        index.put(row_of_run(run))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(store_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    assert set(inspect(engine).get_table_names()) == {"alembic_version", "runs"}
    engine.dispose()
    with closing(RunIndex(url)) as index:
        assert [row.id for row in index.all()] == [run.id]
    assert say(url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert say(url, "SELECT name FROM keys") == say(url, "SELECT name FROM models") == []


def test_a_run_comes_back_whole(index, tmp_path):
    run = create_run(tmp_path / "run", make_config({"data": "blobs", "steps": 7}))
    index.put(row_of_run(run))
    (row,) = index.all()
    assert row.config == run.config.model_dump(mode="json")
    assert row.origin == run.origin
    assert (row.id, row.folder, row.state) == (run.id, str(run.folder), "stopped")
    assert row.began == datetime.fromisoformat(run.origin["began"])
    assert row.updated.tzinfo == UTC
    assert datetime.now(UTC) - row.updated < timedelta(minutes=5)
    assert index.find(row.id[:8]).id == index.find(str(run.folder)).id == row.id
    for name in ("none", row.id[:3]):
        with pytest.raises(RunError, match=f"no run in the store with the folder or id '{name}'"):
            index.find(name)


def test_a_folder_holds_one_run(index, tmp_path):
    for seed in range(3):
        config = TrainConfig(data="blobs", seed=seed)
        index.put(row_of_run(create_run(tmp_path / "run", config, overwrite=True)))
    (row,) = index.all()
    assert row.config["seed"] == 2


def test_training_tells_the_store(tmp_path, call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    assert call("train", *QUICK, "--out", tmp_path / "a").code == 0
    events = train(make_config({"data": "blobs", "steps": 8}), tmp_path / "b")
    for event in events:
        if isinstance(event, Stepped) and event.progress.step == 3:
            break
    events.close()
    said = call("runs", "list", "--json").json
    b, a = sorted(said, key=lambda row: row["folder"], reverse=True)
    assert (a["state"], a["step"], b["state"], b["step"]) == ("finished", 8, "stopped", 3)
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert a["validation"] == pytest.approx(report["validation"]["mean"])
    assert a["control"] == pytest.approx(report["control"]["mean"])
    assert call("resume", tmp_path / "b").code == 0
    states = {row["folder"]: row["state"] for row in call("runs", "list", "--json").json}
    assert states == {str(tmp_path / "a"): "finished", str(tmp_path / "b"): "finished"}


def test_training_goes_on_without_a_store(tmp_path, call, monkeypatch, caplog):
    (tmp_path / "store").write_text("no database " * 100)
    monkeypatch.setenv("QUICKSTUDY_STORE", str(tmp_path / "store"))
    said = call("train", *QUICK, "--out", tmp_path / "run")
    assert said.code == 0
    assert open_run(tmp_path / "run").finished
    (warning,) = [r for r in caplog.records if "not in the store" in r.getMessage()]
    assert "file is not a database" in warning.getMessage()
    said = call("runs", "list")
    assert said.code == 2
    assert said.err.count("\n") == 1


def test_a_failed_run_says_why(tmp_path, call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    options = ["--learner", "maml", "--inner-rate", "1e30", "--rate", "1e30"]
    said = call("train", *QUICK, *options, "--out", tmp_path / "run")
    assert said.code == 2
    (row,) = call("runs", "list", "--json").json
    assert row["state"] == "failed"
    assert "wanted finite numbers" in row["said"]
    # Looking does not forget it, nor does reading the folders anew.
    assert call("runs", "show", tmp_path / "run", "--json").json["said"] == row["said"]
    assert call("runs", "rebuild", tmp_path).code == 0
    assert call("runs", "list", "--json").json == [row]


def test_reading_waits_for_no_writer(sqlite):
    with closing(RunIndex(sqlite)) as index:
        engine = create_engine(store_url(sqlite))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM runs"))  # and not committed yet
            assert index.all() == []
        engine.dispose()


def test_a_killed_run_is_not_said_to_run(tmp_path, call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    out = tmp_path / "run"
    command = [*PROGRAM, "train", *QUICK, "--steps", "1000000", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not [row for row in call("runs", "list", "--json").json if row["step"] > 5]:
                assert process.poll() is None
            assert call("runs", "show", out, "--json").json["state"] == "running"
            refused = call("runs", "rm", out, "--yes")
            assert (refused.code, "is being trained" in refused.err) == (2, True)
        finally:
            process.send_signal(signal.SIGKILL)
    (row,) = call("runs", "list", "--json").json
    assert row["state"] == "stopped"
    assert row["step"] == len(open_run(out).metrics())


def test_the_store_is_made_again_from_the_folders(tmp_path, call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    for name in ("a", "deep/b"):
        assert call("train", *QUICK, "--out", tmp_path / "runs" / name).code == 0
    before = call("runs", "list", "--json").json
    say(url, "DELETE FROM runs")
    assert call("runs", "list", "--json").json == []
    assert "no runs yet" in call("runs", "list").out
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "config.json").write_text("{}")
    assert call("runs", "rebuild", tmp_path / "runs").out == "2 runs are in the store now\n"
    after = call("runs", "list", "--json").json
    assert sorted(after, key=lambda r: r["id"]) == sorted(before, key=lambda r: r["id"])
    refused = call("runs", "rebuild", tmp_path / "none")
    assert (refused.code, "there is no folder" in refused.err) == (2, True)


def test_runs_side_by_side_and_removed(tmp_path, call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    monkeypatch.chdir(tmp_path)
    assert call("train", *QUICK, "--out", "a").code == 0
    assert call("train", *QUICK, "--learner", "r2d2", "--seed", "1", "--out", "b").code == 0
    told = call("runs", "compare", "a", "b", "--json").json
    assert told["options"] == {"learner": ["ProtoNet", "R2D2"], "seed": [0, 1]}
    assert [row["folder"] for row in told["runs"]] == [str(tmp_path / "a"), str(tmp_path / "b")]
    shown = call("runs", "compare", "a", "b").out
    assert "ProtoNet" in shown
    assert "meta-validation" in shown
    assert call("runs", "compare", "a").code == 2
    shown = call("runs", "show", "a").out
    assert "learner: ProtoNet" in shown
    assert f"folder: {tmp_path / 'a'}" in shown
    b = told["runs"][1]["id"]
    assert call("runs", "rm", "a", "none", "--yes").code == 2
    asked = call("runs", "rm", "a")
    assert (asked.code, "give --yes" in asked.err) == (2, True)
    assert (tmp_path / "a").is_dir()
    assert call("runs", "rm", "a", "--yes").out == f"removed {tmp_path / 'a'}\n"
    assert not (tmp_path / "a").exists()
    assert call("runs", "rm", b[:10], "--keep-folder").code == 0
    assert open_run(tmp_path / "b").finished
    assert call("runs", "list", "--json").json == []


def test_a_folder_that_is_gone_or_holds_another_run(tmp_path, call, monkeypatch, url):
    monkeypatch.setenv("QUICKSTUDY_STORE", url)
    assert call("train", *QUICK, "--out", tmp_path / "a").code == 0
    (tmp_path / "a").rename(tmp_path / "b")
    (row,) = call("runs", "list", "--json").json
    assert (row["folder"], row["state"]) == (str(tmp_path / "a"), "missing")
    assert call("runs", "rebuild", tmp_path).code == 0
    (row,) = call("runs", "list", "--json").json
    assert (row["folder"], row["state"]) == (str(tmp_path / "b"), "finished")


FIRST_START = """
import sys
from quickstudy.hub.store.runs import RunIndex
RunIndex(sys.argv[1]).close()
"""


def test_many_first_starts_make_one_schema(url):
    def start(_):
        command = [sys.executable, "-c", FIRST_START, url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(start, range(8)))
    assert [one.returncode for one in done] == [0] * 8, [one.stderr for one in done]
    assert say(url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    if "://" not in url:
        assert say(url, "PRAGMA journal_mode") == [("wal",)]


WRITER = """
import sys
from pathlib import Path
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.runs import create_run
from quickstudy.hub.store.runs import RunIndex, row_of_run
index = RunIndex(sys.argv[1])
run = create_run(Path(sys.argv[2]), TrainConfig())
row = row_of_run(run)
index.put(row)
for step in range(1, 51):
    index.update(run.id, {"step": step})
index.close()
"""


def test_many_writers_wait_for_each_other(url, tmp_path):
    def start(number):
        command = [sys.executable, "-c", WRITER, url, str(tmp_path / f"run{number}")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(start, range(16)))
    assert [one.returncode for one in done] == [0] * 16, [one.stderr for one in done]
    with closing(RunIndex(url)) as index:
        assert [row.step for row in index.all()] == [50] * 16


def test_the_store_is_nobody_elses(tmp_path):
    with closing(RunIndex(str(tmp_path / "a" / "store.sqlite"))):
        assert (tmp_path / "a" / "store.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_password_is_not_said_again():
    with pytest.raises(RunError, match="got 'mysql://me:") as said:
        store_url("mysql://me:secret@db/x")
    assert "secret" not in str(said.value)
