"""States and checkpoints: what comes back, and how damage is noticed."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from tests.faults.poison import forged
from torch import nn

from artefacts.samples import CATALOGUE, alike, damaged, filled, flips
from artefacts.test_tree import trees
from quickstudy.artefacts import (
    load_checkpoint,
    load_model,
    load_state,
    read_state_header,
    save_checkpoint,
    save_model,
    save_state,
)
from quickstudy.artefacts import sealed as sealed_module
from quickstudy.errors import ArtefactError

TREE = {"prototypes": torch.arange(6.0).view(2, 3), "counts": (torch.ones(2), torch.tensor(3))}


def keep_state(path: Path, tree: Any) -> None:
    save_state(path, tree, artefact="models/a", digest="ab12", labels=["a", "b"])


kinds = pytest.mark.parametrize(
    ("save", "load"),
    [
        pytest.param(save_checkpoint, load_checkpoint, id="checkpoint"),
        pytest.param(keep_state, lambda path: load_state(path).state, id="state"),
    ],
)
Save, Load = Callable[[Path, Any], None], Callable[[Path], Any]


@kinds
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_any_tree_survives_to_the_last_bit(
    tmp_path: Path, save: Save, load: Load, tree: Any
) -> None:
    save(tmp_path / "file", tree)
    first = (tmp_path / "file").read_bytes()
    loaded = load(tmp_path / "file")
    assert alike(loaded, tree)
    save(tmp_path / "file", loaded)
    assert (tmp_path / "file").read_bytes() == first


def test_strided_shared_and_negated_tensors_come_back_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    negated = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    tree = [base, base, base.T, base[1:, ::2], base[0].expand(3, 4), nn.Parameter(base), negated]
    save_checkpoint(tmp_path / "file", tree)
    loaded = load_checkpoint(tmp_path / "file")
    assert all(torch.equal(a, b) for a, b in zip(tree, loaded, strict=True))
    loaded[0].zero_()  # a tensor that comes back shares no memory and can be written
    assert torch.equal(loaded[1], base)


def test_an_optimizer_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    def step(net: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for seed in range(count):
            x = torch.rand(5, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.8, 0.999))
    step(net, optimizer, 3)
    generator = torch.Generator().manual_seed(5)
    tree = {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "best": float("-inf"),
    }
    save_checkpoint(tmp_path / "file", tree)
    step(net, optimizer, 3)

    tree = load_checkpoint(tmp_path / "file")
    again = nn.Linear(3, 2)
    again.load_state_dict(tree["net"])
    resumed = torch.optim.AdamW(again.parameters(), betas=(0.8, 0.999))
    resumed.load_state_dict(tree["optimizer"])
    step(again, resumed, 3)
    assert alike(dict(again.state_dict()), dict(net.state_dict()))
    assert alike(resumed.state_dict(), optimizer.state_dict())
    assert torch.equal(tree["generator"], generator.get_state())
    assert tree["best"] == float("-inf")


def test_other_tools_can_open_the_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", TREE)
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["counts/0", "counts/1", "prototypes"]
        header = json.loads(file.metadata()["quickstudy"])
    assert header["format"] == "quickstudy checkpoint"


@kinds
def test_every_other_length_is_noticed(tmp_path: Path, save: Save, load: Load) -> None:
    file = tmp_path / "file"
    save(file, TREE)
    for bad in damaged(file.read_bytes()):
        file.write_bytes(bad)
        with pytest.raises(ArtefactError, match=r"is damaged: |does not begin as a quickstudy"):
            load(file)


@kinds
def test_every_flipped_bit_is_noticed(tmp_path: Path, save: Save, load: Load) -> None:
    file = tmp_path / "file"
    save(file, TREE)
    for _ in flips(file):
        with pytest.raises(ArtefactError, match=r"is damaged: |does not begin as a quickstudy"):
            load(file)
    load(file)


def test_random_damage_to_a_large_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    save_checkpoint(file, {"weights": torch.zeros(300_000), "steps": list(range(1000))})
    good = file.read_bytes()
    chance = random.Random(0)
    for _ in range(100):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        if bad != good:
            file.write_bytes(bad)
            with pytest.raises(ArtefactError, match=r"is damaged|does not begin"):
                load_checkpoint(file)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04.", b'"}}', b'\\"}"}}', b"\\\"}\"," + b'"a":[' * 50_000],
    ids=["nothing", "no text", "no object", "no tensors", "nested deeply"],
)  # fmt: skip
def test_a_forged_digest_vouches_for_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(forged(content))
    with pytest.raises(ArtefactError, match=f"^{tmp_path}/file ") as caught:
        load_checkpoint(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", TREE)
    keep_state(tmp_path / "state", TREE)
    (tmp_path / "text").write_text("hello")
    for name, load, message in (
        ("checkpoint", load_state, "is a quickstudy checkpoint; wanted a quickstudy state"),
        ("state", load_checkpoint, "is a quickstudy state; wanted a quickstudy checkpoint"),
        ("text", load_checkpoint, r"text \(5 bytes\) does not begin as a quickstudy checkpoint"),
        ("none", load_state, "cannot read .*none: No such file"),
        ("", load_checkpoint, "cannot read .*: Is a directory"),
    ):
        with pytest.raises(ArtefactError, match=message):
            load(tmp_path / name)


def test_a_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {"format": "quickstudy checkpoint", "schema": 2, "library": "9.9"}
    monkeypatch.setattr(sealed_module, "stamp", lambda kind: newer)
    save_checkpoint(tmp_path / "file", TREE)
    with pytest.raises(ArtefactError, match=r"file has schema 2, written by quickstudy 9\.9; .*up"):
        load_checkpoint(tmp_path / "file")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {1, 2}}, "a is a set"),
        ({"a": torch.ones(2).to_sparse()}, "'a' is torch.float32, torch.sparse_coo, on cpu"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "'a' is torch.complex64"),
        ({"a": torch.ones(2, device="meta")}, "on meta; wanted a dense one"),
        ({"a": 10**5000}, "cannot write .*file: Exceeds the limit"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_the_last_good_one_stays(
    tmp_path: Path, tree: Any, message: str
) -> None:
    save_checkpoint(tmp_path / "file", TREE)
    with pytest.raises(ArtefactError, match=message):
        save_checkpoint(tmp_path / "file", tree)
    assert alike(load_checkpoint(tmp_path / "file"), TREE)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_header_that_safetensors_could_not_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quickstudy.artefacts.tensors.HEADER_LIMIT", 1000)
    with pytest.raises(ArtefactError, match="put long lists of numbers into tensors"):
        save_checkpoint(tmp_path / "file", {"losses": list(range(1000))})


def test_an_unknown_device_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "file", TREE)
    with pytest.raises(ArtefactError, match="cannot use the device abacus: "):
        load_checkpoint(tmp_path / "file", device="abacus")


# What a state says about itself


def test_a_state_knows_its_model_and_its_labels(tmp_path: Path) -> None:
    labels = ["cat", 3, 2.5, True, None, "ü"]
    folder = tmp_path / "model"
    manifest = save_model(folder, filled(), catalogue=CATALOGUE)
    file = tmp_path / "mine"
    save_state(file, TREE, artefact=folder, digest=manifest.digest, labels=labels)
    model = load_model(folder, catalogue=CATALOGUE)
    stored = load_state(file, model=model)
    assert alike(stored.state, TREE)
    assert stored.header == read_state_header(file)
    assert stored.header.labels == labels
    assert [type(label) for label in stored.header.labels] == [type(label) for label in labels]
    assert stored.header.artefact.path == str(folder)
    assert stored.header.artefact.digest == manifest.digest


def test_a_relative_path_is_kept_as_given_and_as_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep_state(Path("mine"), TREE)
    artefact = read_state_header("mine").artefact
    assert artefact.given == "models/a"
    assert artefact.path == str(tmp_path / "models" / "a")


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    first = save_model(tmp_path / "a", filled(1.0), catalogue=CATALOGUE)
    second = save_model(tmp_path / "b", filled(2.0), catalogue=CATALOGUE)
    file = tmp_path / "mine"
    save_state(file, TREE, artefact=tmp_path / "a", digest=first.digest, labels=None)
    with pytest.raises(ArtefactError) as caught:
        load_state(file, model=load_model(tmp_path / "b", catalogue=CATALOGUE))
    assert str(caught.value) == (
        f"{file} belongs to the model {tmp_path}/a with the digest {first.digest}; "
        f"got a model with {second.digest}: adapt again"
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "a"], 'the label "a" comes 2 times; wanted each label once'),
        ([b"a"], r"labels\[0\] is a bytes; wanted a JSON value"),
        ([["a"]], r"labels\[0\] is a list"),
        ([float("nan")], r"labels\[0\] is nan"),
    ],
)
def test_labels_are_different_json_values(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        save_state(tmp_path / "mine", TREE, artefact="a", digest="b", labels=labels)


def test_a_state_without_its_fields_is_no_state(tmp_path: Path) -> None:
    sealed_module.write_sealed(tmp_path / "file", "state", TREE, {"labels": []})
    with pytest.raises(ArtefactError, match="file is no state: artefact: Field required"):
        load_state(tmp_path / "file")
