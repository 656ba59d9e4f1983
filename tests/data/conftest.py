"""Fixtures of the tests of data."""

import os

import pytest
from tests.data.loopback import BODY, QUICK, SHA256
from tests.data.rendering import FEW

from quickstudy.data import typefaces
from quickstudy.data.download import fetch


@pytest.fixture
def few(monkeypatch):
    """Makes rendering a matter of milliseconds."""
    held = typefaces.characters
    monkeypatch.setattr(typefaces, "characters", lambda face: held(face) & FEW)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def get(tmp_path):
    """Fetches BODY from a server to `tmp_path / "file"`, and says which bytes were told of."""

    def run(server, patience=QUICK, page="/file"):
        told = []
        fetch(
            server.url + page,
            tmp_path / "file",
            sha256=SHA256,
            size=len(BODY),
            progress=lambda done, total: told.append((done, total)),
            patience=patience,
        )
        assert os.listdir(tmp_path) == ["file"]
        assert (tmp_path / "file").read_bytes() == BODY
        return told

    return run
