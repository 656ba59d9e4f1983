"""Small folders of images, small runs, empty databases, and the command line in this process."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import torch
from sqlalchemy import create_engine, text

from hub import shops as tables
from hub.databases import programs, running
from hub.folders import SMALL, draw_folder
from hub.servers import Service, serving
from quickstudy.hub.catalogue import save
from quickstudy.hub.cli import main
from quickstudy.hub.runs import open_run
from quickstudy.hub.store.engine import store_url
from quickstudy.hub.store.runs import RunIndex, row_of_run
from quickstudy.learners import MAML, R2D2, ProtoNet
from quickstudy.nets import MLP


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Said:
        threads, capsys_ = torch.get_num_threads(), capsys.readouterr()
        del capsys_
        try:
            with pytest.raises(SystemExit) as stop:
                main([str(argument) for argument in arguments])
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
        out, err = capsys.readouterr()
        return Said(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve classes of five images."""
    return draw_folder(tmp_path_factory.mktemp("photos"), classes=12, each=5)


@pytest.fixture(scope="session")
def call_once() -> Callable[..., None]:
    """Runs a command line that has to succeed; for fixtures that outlive a test."""

    def run(*arguments: object) -> None:
        threads = torch.get_num_threads()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        assert not stop.value.code

    return run


@pytest.fixture(scope="session")
def trained(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, call_once: Callable[..., None]
) -> Path:
    """A finished run on `photos`; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    call_once("train", "--data", photos, *SMALL, "--steps", 4, "--out", out)
    return out


@pytest.fixture(scope="session")
def sales_run(tmp_path_factory: pytest.TempPathFactory, call_once: Callable[..., None]) -> Path:
    """A run on a table of 20 shops; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("shops")
    tables.shops().to_parquet(folder / "sales.parquet")
    sizes = ["--shots", "3", "--queries", "3", "--validation-queries", "3"]
    call_once("train", "--data", folder / "sales.parquet", *tables.SHOPS, "--learner", "maml",
              *sizes, *tables.SMALL, "--out", folder / "run")  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models of four numbers, by name."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    made = {"proto": ProtoNet(MLP(4, [8], 8)), "maml": MAML(MLP(4, [8], 8), steps=2),
            "ridge": R2D2(MLP(4, [8], 8))}  # fmt: skip
    for name, learner in made.items():
        save(folder / name, learner, input_shape=[4])
    return {name: folder / name for name in made}


@pytest.fixture(scope="session")
def postgres(need):
    place = programs()
    if place is None:
        need.program("initdb")
    need.package("psycopg")
    with running(place) as address:
        yield address


@pytest.fixture
def sqlite(tmp_path):
    return str(tmp_path / "deep" / "store.sqlite")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    """A database that holds nothing yet."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite")
    address = request.getfixturevalue("postgres")
    name = f"store_{uuid.uuid4().hex}"
    engine = create_engine(store_url(f"{address}/postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{address}/{name}"


@pytest.fixture
def following(trained: Path, tmp_path: Path) -> tuple[str, str]:
    """A store with a run that goes on, and the path of its events."""
    store = str(tmp_path / "store.sqlite")
    with closing(RunIndex(store)) as index:
        row = row_of_run(open_run(trained))
        row.id, row.folder, row.state = "f" * 32, "/elsewhere/a", "running"
        row.origin = {**row.origin, "host": "elsewhere"}
        index.put(row)
    return store, f"/v1/runs/{row.id}/events"


@pytest.fixture(scope="module")
def service(plain: dict[str, Path], trained: Path, sales_run: Path) -> Iterator[Service]:
    """One that serves models of numbers, images and a table."""
    with serving({**plain, "photos": trained, "sales": sales_run}) as running:
        yield running


@pytest.fixture
def http(service: Service) -> httpx.Client:
    """Asks that service."""
    return service.http
