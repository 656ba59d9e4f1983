"""Schemathesis against a live service: bodies, addresses and sequences that nobody thought of."""

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

from hub.servers import serving
from quickstudy.hub.catalogue import save
from quickstudy.hub.service.shelf import StoreShelf
from quickstudy.learners import ProtoNet
from quickstudy.nets import MLP

CHECKS = ["--exclude-checks", "positive_data_acceptance"]
"""The document says what any model takes; which shapes this one takes it cannot say."""
CONFIG = """
[parameters]
"path.model" = "tiny"
"""


@pytest.fixture
def service(url, tmp_path):
    torch.manual_seed(0)
    save(tmp_path / "tiny", ProtoNet(MLP(4, [8], 8)), input_shape=[1, 2, 2])
    models = {"tiny": tmp_path / "tiny"}
    with closing(StoreShelf(url)) as shelf, serving(models, shelf=shelf, store=url) as running:
        yield running


def fuzzed(service, folder, examples):
    """How many requests were made; every answer was as the document says, and none a failure."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [Path(sys.executable).parent / "schemathesis", "run", f"{service.url}/openapi.json",
               "--max-examples", str(examples), "--seed", "1", "--no-color", "--warnings", "off",
               "--exclude-path", "/v1/runs/{run_id}/events", *CHECKS]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (count,) = re.findall(r"(\d[\d,]*) generated", done.stdout)
    answered = service.http.get("/metrics").text
    assert not re.findall(r'quickstudy_requests_total\{[^}]*status="5\d\d"\}', answered)
    assert re.findall(r'route="/v1/models/\{model\}/adapt",status="201"', answered)
    return int(count.replace(",", ""))


def test_a_thousand_requests_and_no_failure(service, tmp_path):
    assert fuzzed(service, tmp_path, 40) >= 1000


@pytest.mark.slow
def test_five_thousand_requests_and_no_failure(service, tmp_path):
    assert fuzzed(service, tmp_path, 600) >= 5000
