"""Files of a real run, cut or with a bit flipped: always noticed, in one line."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tests.artefacts.samples import alike, damaged

from quickstudy.artefacts import load_checkpoint, load_state, save_state
from quickstudy.errors import ArtefactError
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.config import make_config
from quickstudy.hub.training import Finished, train

CONFIG = make_config({
    "data": "blobs", "learner": "protonet", "steps": 4, "backbone_options": {"hidden": [8]},
    "threads": 1, "device": "cpu", "evaluate_every": 2, "validation_tasks": 3,
})  # fmt: skip
KINDS = ["manifest", "weights", "state", "checkpoint"]

every_kind = pytest.mark.parametrize("kind", KINDS)


class Stored(NamedTuple):
    """A file, and what is read of it: all that anybody is given."""

    file: Path
    read: Callable[[], Any]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stored]:
    threads = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("damage") / "run"
    *_, end = train(CONFIG, folder)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    assert isinstance(end, Finished)
    task = end.source.tasks("test", 5, 1, 1).sample(1, torch.Generator().manual_seed(0))
    support = type(task.support)(*(part[0] for part in task.support))
    state, model = folder.parent / "mine.state", load_model(folder)[1]
    save_state(
        state, end.learner.adapt(support), artefact=folder, digest=model.manifest.digest,
        labels=[*"abcde"],
    )  # fmt: skip
    (weights,) = folder.glob("weights-*")
    checkpoint = max((folder / "checkpoints").iterdir())

    def read_model() -> Any:
        learner, model = load_model(folder)
        return repr(model.manifest), dict(learner.state_dict())

    return {
        "manifest": Stored(folder / "manifest.json", read_model),
        "weights": Stored(weights, read_model),
        "state": Stored(state, lambda: load_state(state, model=model).state),
        "checkpoint": Stored(checkpoint, lambda: load_checkpoint(checkpoint)),
    }


def noticed(stored: Stored) -> bool:
    """Whether a damaged file is refused; an error of another kind is nobody's to catch."""
    try:
        stored.read()
    except ArtefactError as error:
        said = str(error)
    else:
        return False
    assert "\n" not in said
    assert str(stored.file.parent) in said
    return True


@every_kind
def test_a_file_that_was_cut(stored: dict[str, Stored], kind: str) -> None:
    file, read = stored[kind]
    good, whole = file.read_bytes(), read()
    try:
        for content in damaged(good):
            file.write_bytes(content)
            if kind == "manifest" and content.strip() == good.strip():
                assert alike(read(), whole)  # all that is missing is the last line's end
            else:
                assert noticed(stored[kind]), f"{len(content)} bytes of {len(good)}"
    finally:
        file.write_bytes(good)
    assert alike(read(), whole)


@every_kind
@pytest.mark.parametrize("times", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_file_with_a_flipped_bit(stored: dict[str, Stored], kind: str, times: int) -> None:
    """In the manifest a number may be spelled otherwise (1E-05) and be the same, and no more."""
    file, read = stored[kind]
    good, whole = file.read_bytes(), read()
    chance = random.Random(times)
    found = 0
    try:
        for _ in range(times):
            place = chance.randrange(len(good) * 8)
            bad = bytearray(good)
            bad[place // 8] ^= 1 << place % 8
            file.write_bytes(bad)
            if noticed(stored[kind]):
                found += 1
            else:
                assert kind == "manifest", f"bit {place}"
                assert alike(read(), whole), f"bit {place}"
    finally:
        file.write_bytes(good)
    assert found == times if kind != "manifest" else found > 0.9 * times
    assert alike(read(), whole)
