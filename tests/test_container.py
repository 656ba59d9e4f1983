import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from quickstudy.hub.cli import app

ROOT = Path(__file__).parents[1]
FILE = ROOT / "Dockerfile"


def test_hadolint_has_nothing_to_say(need):
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else need.program("hadolint")
    done = subprocess.run([program, "--no-color", FILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_it_copies_is_there():
    copied = re.findall(r"^COPY --chown=hub (.*) \S+$", FILE.read_text(), re.MULTILINE)
    names = [name for line in copied for name in shlex.split(line) if "$" not in name]
    assert "src" in names
    assert all((ROOT / name).exists() for name in names)


def test_what_it_runs_is_a_command_of_ours():
    (line,) = re.findall(r"^CMD (\[.*\])$", FILE.read_text(), re.MULTILINE)
    program, command, *arguments = json.loads(line)
    assert (program, command) == ("quickstudy", "serve")
    serve = get_command(app).commands["serve"]
    told = serve.make_context("serve", arguments).params
    assert told["host"] == "0.0.0.0"
    assert told["keep"] is True
