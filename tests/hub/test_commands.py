"""What a careless user can do to the command line: each one line, exit code 2, nothing written."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hub.folders import SMALL, draw_folder
from quickstudy import __version__
from quickstudy.hub import cli
from quickstudy.hub.runs import open_run

PROGRAM = [sys.executable, "-m", "quickstudy"]


def refused(said, *parts):
    assert said.code == 2, said
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if not line.startswith("meta-training")]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folders(tmp_path):
    """Folders that cannot become tasks, by what is wrong with them."""
    root = tmp_path / "data"
    (root / "empty").mkdir(parents=True)
    draw_folder(root / "one class", classes=1, each=4)
    (root / "loose").mkdir()
    Image.new("L", (20, 20)).save(root / "loose" / "a.png")
    draw_folder(root / "texts", classes=6, each=4)
    (root / "texts" / "class01" / "2.png").write_text("dear diary")
    (root / "texts" / "class04" / "0.png").write_bytes(b"")
    draw_folder(root / "few", classes=7, each=4)
    for number in (1, 2, 3):
        os.remove(root / "few" / "class03" / f"{number}.png")
    draw_folder(root / "hollow", classes=6, each=4)
    (root / "hollow" / "nothing").mkdir()
    return root


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("empty", ["must hold at least 2 class folders of images, got 0 folders and 0 files"]),
        ("one class", ["must hold at least 2 class folders of images, got 1 folders and 0 files"]),
        ("loose", ["got 0 folders and 1 files"]),
        ("texts", ["2 of 24 files are no images", "class01/2.png", "class04/0.png"]),
        ("few", ["class 'class03'", "has 1 images", "at least 2"]),
        ("hollow", ["class 'nothing'", "has 0 images"]),
        ("missing", ["--data must be glyphs", "no such folder"]),
    ],
)
def test_folders_that_cannot_become_tasks(folders, tmp_path, trained, call, name, parts):
    out = tmp_path / "run"
    refused(call("train", "--data", folders / name, *SMALL, "--out", out), *parts)
    refused(call("evaluate", trained, "--data", folders / name, "--tasks", "2"), *parts)
    assert not out.exists()
    if name not in ("few", "missing"):  # one drawing of a class is enough to adapt
        state = tmp_path / "state"
        said = call("adapt", trained, "--support", folders / name, "--out", state)
        refused(said, *(part for part in parts if part != "at least 2" and "24" not in part))
        assert not state.exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--ways", "30"], "30-way tasks need 30 classes"),
        (["--shots", "5"], "5 shot + 2 queries need 7"),
        (["--ways", "0"], "--ways must be at least 2, got 0"),
        (["--ways", "-4"], "--ways must be at least 2, got -4"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--steps", "-1"], "--steps must be at least 1, got -1"),
        (["--steps", "many"], "Invalid value for '--steps': Input should be a valid integer"),
        (["--steps=many"], ", got 'many'"),
        (["--rate", "-0.1"], "--rate must be more than 0, got -0.1"),
        (["--rate", "nan"], "--rate must be a finite number, got nan"),
        (["--channels", "2"], "--channels must be one of 1 or 3, got 2"),
        (["--size", "0"], "--size must be at least 1, got 0"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--device", "abacus"], "--device must be auto, cpu, cuda or mps, got 'abacus'"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--learner", "mamml"], "did you mean MAML?"),
        (["--inner-steps", "3"], "ProtoNet takes no --inner-steps"),
        (["--learner-option", "x"], "--learner-option must be NAME=VALUE, got 'x'"),
        (
            ["--recipe", "x"],
            "--recipe must be one of demo, fonts, grocery, paper-5way-1shot, paper-5way-5shot, "
            "paper-20way-1shot, paper-20way-5shot, got 'x'",
        ),
        (["--data", "glyhps"], "did you mean glyphs?"),
        (["--wys", "3"], "No such option: --wys"),
        (["--out", "/dev/null/run"], "cannot write /dev/null/run"),
        (["--out", "/proc/nobody/run"], "cannot write /proc/nobody/run"),
        (["--out", __file__], "test_commands.py is a file; wanted a folder"),
    ],
)
def test_options_of_train(photos, tmp_path, call, options, part):
    before = tree(tmp_path)
    refused(call("train", "--data", photos, *SMALL, "--out", tmp_path / "run", *options), part)
    assert tree(tmp_path) == before


def test_what_is_no_run(tmp_path, trained, photos, call):
    picture = next(photos.rglob("*.png"))
    (tmp_path / "folder").mkdir()
    for command in (["evaluate"], ["adapt", "--support", photos, "--out", tmp_path / "s"]):
        refused(call(*command, tmp_path / "none"), "there is no run", "no such folder")
        refused(call(*command, tmp_path / "folder"), "has no manifest.json")
        refused(call(*command, picture), "is a file; wanted a model")
    refused(call("resume", tmp_path / "none"), "there is no run")
    refused(call("resume", tmp_path / "folder"), "is not a run")
    refused(call("predict", tmp_path / "none", picture), "none: No such file")
    refused(call("predict", picture, picture), "does not begin as a quickstudy state does")
    refused(call("train", "--data", photos, "--out", trained), "exists; name another folder, or")
    assert os.listdir(tmp_path) == ["folder"]


def test_files_that_are_no_images(trained, photos, tmp_path, call):
    state = tmp_path / "s"
    assert call("adapt", trained, "--support", photos, "--out", state).code == 0
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "nothing").mkdir()
    good = next(photos.rglob("*.png"))
    refused(call("predict", state, good, tmp_path / "a.png"), "1 of 2 files are no images", "a.png")
    refused(call("predict", state, tmp_path / "b.png"), "b.png (no such file)")
    refused(call("predict", state, tmp_path / "nothing"), "has no files; wanted images")
    refused(call("predict", state), "Missing argument 'FILE...'")


def test_damaged_artefacts(trained, photos, tmp_path, call):
    run, state = tmp_path / "run", tmp_path / "s"
    shutil.copytree(trained, run)
    assert call("adapt", run, "--support", photos, "--out", state).code == 0
    picture = next(photos.rglob("*.png"))
    (weights,) = run.glob("weights-*")

    def cut(path):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return whole

    whole = cut(state)
    refused(call("predict", state, picture), "is damaged")
    state.write_bytes(whole)
    whole = cut(weights)
    refused(call("evaluate", run), "is damaged", "SHA-256")
    refused(call("predict", state, picture), "is damaged")
    weights.unlink()
    refused(call("evaluate", run), "weights-", "manifest.json beside it names it")
    weights.write_bytes(whole)
    whole = cut(run / "manifest.json")
    refused(call("evaluate", run), "is no JSON file")
    (run / "manifest.json").write_bytes(whole)
    (run / "report.json").unlink()  # as if it had been killed just before its end
    for checkpoint in (run / "checkpoints").iterdir():
        cut(checkpoint)
    refused(call("resume", run), "no checkpoint can be read", ".safetensors is damaged")
    assert call("evaluate", run, "--ways", "2", "--queries", "2", "--tasks", "2").code == 0


def test_damaged_data(tmp_path, monkeypatch, call):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    refused(call("data", "show", "omniglot"), "Omniglot is not in the data cache", str(tmp_path))
    (tmp_path / "omniglot_28.npz").write_bytes(b"PK half an archive")
    refused(call("data", "show", "omniglot"), "omniglot_28.npz is no whole npz file")
    np.savez(tmp_path / "omniglot_28.npz", images=np.zeros((2, 3)))
    refused(call("train", "--data", "omniglot", "--out", tmp_path / "run"), "lacks alphabet")
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "omniglot_28.npz"))
    refused(call("data", "list"), "the data cache must be a folder, got the file")


def full_disk(kilobytes):
    """For a new process: no file may grow larger, as if the disk were full."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    return limit


def test_a_disk_that_fills_up(photos, tmp_path, call):
    """As a real process: the checkpoint before stays, and the run goes on from it."""
    out = tmp_path / "run"
    options = ["--data", str(photos), *SMALL, "--width", "32", "--checkpoint-every", "4"]
    run = [*PROGRAM, "train", *options, "--steps", "10", "--out", str(out)]
    said = subprocess.run(run, preexec_fn=full_disk(50), capture_output=True, text=True)
    assert said.returncode == 2
    assert "error: cannot write" in said.stderr.splitlines()[-1]
    assert ".safetensors: File too large" in said.stderr.splitlines()[-1]
    assert sorted(os.listdir(out)) == ["checkpoints", "config.json", "metrics.jsonl", "times.jsonl"]
    assert not os.listdir(out / "checkpoints")
    assert call("resume", out).code == 0
    last = {path: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    (out / "report.json").unlink()  # as if it had been killed just before its end
    again = subprocess.run(
        [*PROGRAM, "resume", str(out)], preexec_fn=full_disk(50), capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "error: cannot write" in again.stderr
    assert {path: path.read_bytes() for path in (out / "checkpoints").iterdir()} == last
    assert call("evaluate", out, "--ways", "2", "--queries", "2", "--tasks", "2").code == 0


def test_a_run_is_replaced_only_by_one_that_can_begin(photos, tmp_path, call):
    out = tmp_path / "run"
    train = ["train", "--data", photos, *SMALL, "--steps", "2", "--out", out]
    said = call(*train)
    assert said.code == 0
    assert ", the best of 2 looks at 2 2-way 1-shot tasks, 2 queries a class" in said.out
    before = tree(out)
    refused(call(*train), "--overwrite")
    refused(call(*train, "--overwrite", "--ways", "99"), "99-way")
    assert tree(out) == before
    assert call(*train, "--overwrite", "--steps", "3").code == 0
    assert open_run(out).config.steps == 3
    assert os.listdir(tmp_path) == ["run"]


def test_help_of_every_command_has_examples(call):
    commands = [[c.name or c.callback.__name__] for c in cli.app.registered_commands]
    commands += [["data", name] for name in ("list", "show", "prepare")]
    for command in [[], *commands]:
        said = call(*command, "--help")
        assert said.code == 0
        assert f"quickstudy {' '.join(command)}".strip() in said.out.split("Examples:")[1]


def test_nothing_is_help_and_a_typo_is_explained(call):
    assert "Usage" in call().out
    refused(call("trian"), "No such command 'trian'", "train")
    assert call("--version").out == f"quickstudy {__version__}\n"


def test_errors_of_ours_are_one_line_too(call, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("quickstudy.hub.doctor.examine", broken)
    said = call("doctor")
    assert (said.code, said.out) == (1, "")
    assert said.err == "error: internal error, ZeroDivisionError: oh no; --debug shows where\n"
    assert "Traceback" in call("doctor", "--debug").err


def test_the_doctor(call, data_cache):
    facts = call("doctor", "--json").json
    assert facts["quickstudy"] == __version__
    assert facts["cache"]["folder"] == str(data_cache)
    assert facts["devices"]["cpu"] == 1
    assert facts["packages"]["torch"]
    said = call("doctor").out
    for word in ("Python", "devices", "threads", str(data_cache), "GB"):
        assert word in said


def test_data(call, photos, data_cache):
    names = [row["name"] for row in call("data", "list", "--json").json]
    named = ["glyphs", "omniglot", "fashion", "grocery", "movielens", "blobs", "sinusoids"]
    assert names == named
    assert all(name in call("data", "list").out for name in names)
    shown = call("data", "show", photos, "--json").json
    assert shown["all"]["classes"] == 12
    assert "12 classes, 60 images, 5 a class" in call("data", "show", photos).out
    ready = call("data", "prepare", "glyphs").out
    assert ready.startswith("glyphs is ready: ")
    assert Path(ready.removeprefix("glyphs is ready: ").strip()).is_file()


def test_a_process_of_its_own(tmp_path):
    """What only a real process shows: imports, encodings, a reader that goes away."""
    code = (
        "import sys; from quickstudy.hub import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'PIL', 'sklearn', 'safetensors'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    plain = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    said = subprocess.run([*PROGRAM, "--help"], env=plain, capture_output=True)
    assert said.returncode == 0
    assert b"meta-learn" in said.stdout.lower()
    reader = f"{sys.executable} -m quickstudy train --help | head -1"
    said = subprocess.run(reader, shell=True, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    said = subprocess.run([*PROGRAM, "resume", str(tmp_path / "x")], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"error: there is no run {tmp_path}/x: no such folder\n"


def test_a_model_that_is_not_finite_is_not_stored(tmp_path, call):
    said = call("train", "--data", "blobs", "--rate", "1e9", "--tasks-per-step", "2",
                "--nonfinite", "skip", "--steps", "30", "--validation-tasks", "5", "--threads", "1",
                "--out", tmp_path / "run")  # fmt: skip
    assert said.code == 2
    assert "no meta-validation gave finite numbers" in said.err.splitlines()[-1]
    assert not (tmp_path / "run" / "manifest.json").exists()
