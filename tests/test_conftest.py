"""What a test needs and does not find: skipped by name, or failed where everything is required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
def test_data(need):
    assert need.data("numbers.npz").read_bytes() == b"7"
def test_program(need):
    need.program("no-such-browser", "no-such-other")
def test_package(need):
    need.package("no_such_package")
def test_cache(data_cache):
    (data_cache / "rendered.npz").write_bytes(b"1")
"""


def run(tmp_path: Path, **variables: str) -> str:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("QUICKSTUDY_", "PYTEST_"))
    }
    command = [sys.executable, "-m", "pytest", "-rsf", "-p", "no:cacheprovider", "--tb=line", "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment | variables, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_what_is_missing_is_skipped_by_name(tmp_path: Path) -> None:
    out = run(tmp_path)
    assert "1 passed, 3 skipped" in out
    assert "needs numbers.npz in $QUICKSTUDY_DATA" in out
    assert "needs no-such-browser or no-such-other on the PATH" in out
    assert "needs the package no_such_package" in out


def test_what_is_missing_fails_where_all_is_required(tmp_path: Path) -> None:
    assert "3 failed, 1 passed" in run(tmp_path, QUICKSTUDY_REQUIRE="all")


def test_data_is_read_and_never_written_to(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "numbers.npz").write_bytes(b"7")
    out = run(tmp_path, QUICKSTUDY_DATA=str(data))
    assert "2 passed, 2 skipped" in out
    assert [file.name for file in data.iterdir()] == ["numbers.npz"]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("QUICKSTUDY_REQUIRE", "some", "must be unset or 'all', got 'some'"),
        ("QUICKSTUDY_DATA", "/no/such/folder", "must name a folder, got /no/such/folder"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, variable: str, value: str, message: str) -> None:
    assert message in run(tmp_path, **{variable: value})
