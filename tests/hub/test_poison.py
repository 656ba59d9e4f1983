"""Files that would run something, wherever a file can be given: a clear error, and nothing runs."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable

import pytest
from tests.faults.poison import poisons

from hub.folders import SMALL, draw_folder
from quickstudy.data.omniglot import OMNIGLOT_FILE


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_manifest(run, content):
    (run / "manifest.json").write_bytes(content)


def weights(run, content):
    (file,) = run.glob("weights-*")
    file.write_bytes(content)


def weights_that_the_manifest_vouches_for(run, content):
    weights(run, content)
    file = run / "manifest.json"
    document = json.loads(file.read_text())
    del document["checksum"]
    document["weights"] |= {"sha256": _sha256(content), "bytes": len(content)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    file.write_text(json.dumps(document | {"checksum": _sha256(text.encode())}))


def checkpoints(run, content):
    (run / "report.json").unlink()
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(content)


def a_report(run, content):
    (run / "report.json").write_bytes(content)


def a_config(run, content):
    (run / "config.json").write_bytes(content)


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture
def refused(canary, call, tmp_path):
    """Runs a command for each poison, once it is put in its place."""

    def run(put: Callable[[bytes], list[object]]) -> None:
        for name, poison in poisons(canary).items():
            said = call(*put(poison.content))
            assert not canary.exists(), name
            assert said.code == 2, (name, said)
            assert said.err.startswith("error: "), (name, said)
            assert said.err.count("\n") == 1, (name, said)
            assert "internal error" not in said.err

    return run


@pytest.fixture(scope="module")
def state(trained, photos, tmp_path_factory, call_once):
    out = tmp_path_factory.mktemp("states") / "mine.state"
    call_once("adapt", trained, "--support", photos, "--out", out)
    return out


def test_every_poison_kills_whom_it_is_meant_for(canary):
    for name, poison in poisons(canary).items():
        poison.careless(io.BytesIO(poison.content))
        assert canary.is_dir(), name
        canary.rmdir()


@pytest.mark.parametrize(
    ("spoil", "command"),
    [
        (a_manifest, "evaluate"),
        (weights, "evaluate"),
        (weights_that_the_manifest_vouches_for, "evaluate"),
        (checkpoints, "resume"),
        (a_report, "resume"),
        (a_config, "resume"),
    ],
)
def test_a_run_that_holds_poison(trained, refused, tmp_path, spoil, command):
    def put(content):
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(trained, run)
        spoil(run, content)
        return [command, run]

    refused(put)


def test_a_record_that_holds_poison_is_no_record(trained, canary, tmp_path, call):
    for name, poison in poisons(canary).items():
        run = shutil.copytree(trained, tmp_path / name)
        (run / "report.json").unlink()
        for file in (run / "metrics.jsonl", run / "times.jsonl"):
            size = file.stat().st_size
            file.write_bytes(poison.content[:size].ljust(size, b"\n"))
        said = call("resume", run)
        assert not canary.exists(), name
        assert "internal error" not in said.err, (name, said)
        assert said.code in (0, 2), (name, said)


@pytest.mark.parametrize("ending", ["state", "png", "pt", "csv", "parquet", "yaml"])
def test_a_file_that_is_poison(trained, photos, state, refused, tmp_path, ending):
    def put(content):
        file = tmp_path / f"evil.{ending}"
        file.write_bytes(content)
        return {
            "state": ["predict", file, next(photos.rglob("*.png"))],
            "png": ["predict", state, file],
            "pt": ["evaluate", file],
            "yaml": ["train", "--config", file, "--out", tmp_path / "run"],
        }.get(ending, ["train", "--data", file, *SMALL, "--steps", 1, "--out", tmp_path / "run"])

    refused(put)


def test_a_folder_of_images_with_poison_among_them(trained, refused, tmp_path):
    folder = draw_folder(tmp_path / "photos", classes=4, each=2)

    def spoil(content):
        for ending in ("png", "jpg", "webp"):
            (folder / "class00" / f"evil.{ending}").write_bytes(content)

    def put(content):
        spoil(content)
        return ["train", "--data", folder, *SMALL, "--steps", 1, "--out", tmp_path / "run"]

    def put_support(content):
        spoil(content)
        return ["adapt", trained, "--support", folder, "--out", tmp_path / "a.state"]

    refused(put)
    refused(put_support)


def test_data_and_recommenders_that_are_poison(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))

    def put_data(content):
        (tmp_path / OMNIGLOT_FILE).write_bytes(content)
        return ["train", "--data", "omniglot", *SMALL, "--steps", 1, "--out", tmp_path / "run"]

    def put_recommender(content):
        (tmp_path / "recommender.safetensors").write_bytes(content)
        (tmp_path / "mine.csv").write_text("item\na\n")
        return ["recommend", "top", tmp_path, "--history", tmp_path / "mine.csv"]

    refused(put_data)
    refused(put_recommender)
