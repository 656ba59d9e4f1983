"""The set-up script as a process, on machines that lack something; nothing is really installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = [
    "awk",
    "bash",
    "cat",
    "chmod",
    "cksum",
    "cp",
    "df",
    "dirname",
    "mkdir",
    "mktemp",
    "rm",
    "rmdir",
    "sh",
]

# An interpreter that makes a .venv of one file and writes down what pip is told.
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip install "*)
        echo "$*" >>"$PIP_LOG"; echo "index: ${PIP_EXTRA_INDEX_URL:-}" >>"$PIP_LOG"
        echo "cache: ${PIP_CACHE_DIR:-}" >>"$PIP_LOG"
        case "${PIP_FATE:-}" in killed) kill -9 $PPID ;; failed) exit 1 ;; esac ;;
    "-m pip "*) ;;
    *ensurepip*) exit %(ensurepip)d ;;
    *) exec %(real)s "$@" ;;
esac
"""
OLD = """#!/bin/sh
case "$*" in *print*) echo 3.9 ;; *) exit 1 ;; esac
"""
UV = """#!/bin/sh
echo "uv $*" >>"$PIP_LOG"
case "$1" in venv) mkdir -p .venv/bin && cp "$(command -v python3)" .venv/bin/python ;; esac
"""


class Machine:
    """A copy of the project, and a PATH that holds only what is put there."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.programs = folder / "bin"
        self.log = folder / "pip.log"
        for made in (self.project / "scripts", self.programs, folder / "home"):
            made.mkdir(parents=True)
        for name in ("pyproject.toml", "constraints.txt", "scripts/setup.sh"):
            shutil.copy(ROOT / name, self.project / name)
        for name in TOOLS:
            (self.programs / name).symlink_to(str(shutil.which(name)))
        self.environment = {
            "PATH": str(self.programs),
            "HOME": str(folder / "home"),
            "PIP_LOG": str(self.log),
            "QUICKSTUDY_SKIP_DISK_CHECK": "1",
        }
        self.install("python3", PYTHON % {"ensurepip": 0, "real": sys.executable})

    def install(self, name: str, script: str) -> None:
        (self.programs / name).write_text(script)
        (self.programs / name).chmod(0o755)

    def setup(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(shutil.which("bash")), str(self.project / "scripts/setup.sh"), *arguments],
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
        )

    @property
    def told(self) -> str:
        """What pip and uv were told so far."""
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_check_installs_nothing(machine: Machine) -> None:
    done = machine.setup("--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "would make .venv with python3 (3." in done.stdout
    assert not (machine.project / ".venv").exists()
    assert machine.told == ""


def test_set_up_once(machine: Machine) -> None:
    first = machine.setup()
    assert (first.returncode, first.stderr) == (0, "")
    assert "-c constraints.txt -e ." in machine.told
    told = machine.told
    again = machine.setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.told == told


def test_extras_come_when_asked_for_and_stay(machine: Machine) -> None:
    machine.setup()
    machine.setup("dev,docs")
    assert "-e .[dev,docs]" in machine.told
    told = machine.told
    machine.setup()
    assert machine.told == told
    (machine.project / "constraints.txt").write_text("torch==2.14.0\n")
    machine.setup()
    assert machine.told.count("-e .[dev,docs]") == 2


def test_an_interrupted_setup_is_repaired(machine: Machine) -> None:
    assert machine.setup(PIP_FATE="killed").returncode == -9
    (machine.project / ".venv/left over").touch()
    done = machine.setup()
    assert done.returncode == 0
    assert "interrupted: starting over" in done.stdout
    assert not (machine.project / ".venv/left over").exists()
    assert machine.setup().stdout == ""


def test_a_failed_update_keeps_what_works(machine: Machine) -> None:
    machine.setup()
    (machine.project / ".venv/kept").touch()
    (machine.project / "constraints.txt").write_text("torch==0\n")
    assert machine.setup(PIP_FATE="failed").returncode == 1
    assert machine.setup().returncode == 0
    assert (machine.project / ".venv/kept").exists()


def test_a_failed_first_setup_starts_over(machine: Machine) -> None:
    failed = machine.setup(PIP_FATE="failed")
    assert failed.returncode == 1
    assert "run this again" in failed.stderr
    assert machine.setup().returncode == 0


def test_two_at_once(machine: Machine) -> None:
    (machine.project / ".venv").mkdir()
    (machine.project / ".venv/.quickstudy-unfinished").write_text(str(os.getpid()))
    assert f"another setup is at work (process {os.getpid()})" in refusal(machine.setup())


def test_a_moved_project_is_set_up_anew(machine: Machine) -> None:
    machine.setup()
    (machine.project / ".venv/left over").touch()
    machine.project = machine.project.rename(machine.project.with_name("moved and with spaces"))
    assert machine.setup().returncode == 0
    assert not (machine.project / ".venv/left over").exists()


def test_no_ensurepip_names_the_one_command(machine: Machine) -> None:
    machine.install("python3", PYTHON % {"ensurepip": 1, "real": sys.executable})
    machine.install("apt-get", "#!/bin/sh\n")
    version = "{}.{}".format(*sys.version_info)
    assert refusal(machine.setup()).endswith(f"run: sudo apt-get install -y python{version}-venv\n")
    assert refusal(machine.setup("--check")) == refusal(machine.setup())


def test_no_ensurepip_and_uv(machine: Machine) -> None:
    machine.install("python3", PYTHON % {"ensurepip": 1, "real": sys.executable})
    machine.install("uv", UV)
    assert machine.setup().returncode == 0
    assert "uv venv --quiet --allow-existing --python python3" in machine.told
    assert "uv pip install" in machine.told
    assert machine.setup().stdout == ""


def test_an_old_python(machine: Machine) -> None:
    machine.install("python3", OLD)
    assert "needs Python 3.11 to 3.14, python3 here is 3.9" in refusal(machine.setup())


def test_an_old_python_beside_a_new_one(machine: Machine) -> None:
    machine.install("python3", OLD)
    machine.install("python3.13", "#!/bin/sh\nexit 127\n")  # a version manager's stand-in
    machine.install("python3.12", PYTHON % {"ensurepip": 0, "real": sys.executable})
    assert "with python3.12 (" in machine.setup("--check").stdout


def test_no_python(machine: Machine) -> None:
    (machine.programs / "python3").unlink()
    assert "none was found" in refusal(machine.setup())


def test_the_python_that_is_named(machine: Machine) -> None:
    machine.install("my python", PYTHON % {"ensurepip": 0, "real": sys.executable})
    assert (
        "my python" in machine.setup("--check", PYTHON=str(machine.programs / "my python")).stdout
    )
    assert "none was found" in refusal(machine.setup(PYTHON="/no/such/python"))


def test_a_full_disk(machine: Machine) -> None:
    little = {"QUICKSTUDY_MIN_DISK_KB": "1" + "0" * 12}
    said = refusal(machine.setup(**little, QUICKSTUDY_SKIP_DISK_CHECK="0"))
    assert "MB are free here, 976562500 MB are wanted" in said
    assert not (machine.project / ".venv").exists()
    assert machine.setup("--check", **little, QUICKSTUDY_SKIP_DISK_CHECK="1").returncode == 0


@pytest.mark.parametrize("home", ["/nonexistent", "/proc", ""])
def test_a_home_that_cannot_be_written(machine: Machine, home: str) -> None:
    assert "home folder cannot be written" in machine.setup("--check", HOME=home).stdout
    assert machine.setup(HOME=home).returncode == 0
    cache = machine.told.split("cache: ")[1].strip()
    assert "quickstudy-setup." in cache
    assert not Path(cache).parent.exists()


def test_plain_c_locale(machine: Machine) -> None:
    done = machine.setup("--check", LC_ALL="C", LANG="C")
    assert done.returncode == 0
    assert done.stdout.isascii()


def test_an_index_for_pytorch(machine: Machine) -> None:
    machine.setup(TORCH_INDEX="file:///wheels", PIP_EXTRA_INDEX_URL="file:///more")
    assert "index: file:///wheels file:///more\n" in machine.told


def test_soak_runs_benchmarks_as_modules_and_leaves_the_readme(need):
    plan = [need.program("make"), "--dry-run", "soak"]
    said = subprocess.run(plan, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    benchmarks = [line for line in said.stdout.splitlines() if "benchmarks" in line]
    modules = ["service", "service --overload", "service --minutes 60", "startup"]
    assert benchmarks == [f".venv/bin/python -m benchmarks.{module}" for module in modules]
    assert ".venv/bin/python -m tests.faults.kill --times 200" in said.stdout
    assert ".venv/bin/pytest -m slow" in said.stdout
