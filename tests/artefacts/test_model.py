import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from artefacts.samples import CATALOGUE, Learner, Net, Rule, alike, damaged, filled, flips
from quickstudy.artefacts import Manifest, load_model, read_manifest, save_model
from quickstudy.errors import ArtefactError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(folder: Path) -> Path:
    (file,) = folder.glob("weights-*.safetensors")
    return file


def save(folder: Path, fill: float = 1.0, **details: Any) -> Manifest:
    return save_model(folder, filled(fill), catalogue=CATALOGUE, **details)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], honest: bool = True) -> None:
    """Change a manifest, and (if honest) its checksum too."""
    file = folder / "manifest.json"
    document = json.loads(file.read_text())
    change(document)
    if honest:
        rest = {key: value for key, value in document.items() if key != "checksum"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        document["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(document))


def test_a_model_survives_to_the_last_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = Learner(Net((3, 4), bias=False), Rule(0.1), steps=2, title="ü")
    learner.net.mean.normal_()  # type: ignore[union-attr, operator]
    learner.net.count.fill_(2**62 + 1)  # type: ignore[union-attr, operator]
    before = dict(learner.state_dict())
    manifest = save_model(
        tmp_path / "a",
        learner,
        catalogue=CATALOGUE,
        input_shape=(3,),
        preprocessing={"size": 28},
        training={"steps": 10, "seeds": (1, 2)},
        metrics={"accuracy": 0.1 + 0.2, "interval": float("nan")},
    )
    model = load_model(tmp_path / "a", catalogue=CATALOGUE)
    assert alike(dict(model.learner.state_dict()), before)
    assert model.manifest == manifest == read_manifest(tmp_path / "a")
    assert isinstance(model.learner, Learner)
    assert (model.learner.rule.rate, model.learner.title) == (0.1, "ü")
    assert not model.learner.training
    assert manifest.input_shape == [3]
    assert manifest.preprocessing == {"size": 28}
    assert manifest.training == {"steps": 10, "seeds": [1, 2]}
    assert manifest.metrics == {"accuracy": 0.1 + 0.2, "interval": None}


def test_a_folder_holds_a_manifest_and_the_weights_it_names(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert names(tmp_path) == ["manifest.json", manifest.weights.file]
    assert (document["schema"], document["format"]) == (1, "quickstudy model")
    content = weights(tmp_path).read_bytes()
    assert document["weights"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert document["weights"]["bytes"] == len(content)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_types_survive(tmp_path: Path, dtype: torch.dtype) -> None:
    learner = filled().to(dtype)
    save_model(tmp_path, learner, catalogue=CATALOGUE)
    loaded = load_model(tmp_path, catalogue=CATALOGUE).learner
    assert alike(dict(loaded.state_dict()), dict(learner.state_dict()))
    assert all(p.requires_grad for p in loaded.parameters())


def test_saving_changes_nothing_on_the_learner(tmp_path: Path) -> None:
    learner = filled().train()
    tensors = learner.state_dict(keep_vars=True)
    before = {name: (tensor, tensor.clone()) for name, tensor in tensors.items()}
    save_model(tmp_path, learner, catalogue=CATALOGUE)
    assert learner.training
    for name, tensor in learner.state_dict(keep_vars=True).items():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])


def test_the_global_random_state_stays_as_it_was(tmp_path: Path) -> None:
    learner = filled()
    before = torch.get_rng_state()
    save_model(tmp_path, learner, catalogue=CATALOGUE)
    load_model(tmp_path, catalogue=CATALOGUE)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_is_replaced_and_its_old_weights_go(tmp_path: Path) -> None:
    for fill in (1.0, 2.0, 2.0, 3.0):
        manifest = save(tmp_path, fill)
        assert names(tmp_path) == ["manifest.json", manifest.weights.file]
        assert load_model(tmp_path, catalogue=CATALOGUE).learner.head[0] == fill  # type: ignore[index]


def test_what_others_keep_in_the_folder_stays(tmp_path: Path) -> None:
    for name in ("notes.txt", "weights-best.safetensors"):
        (tmp_path / name).write_text("mine")
    save(tmp_path, 1.0)
    save(tmp_path, 2.0)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "weights-best.safetensors").read_text() == "mine"


def test_equal_models_are_equal_files_in_every_process(tmp_path: Path) -> None:
    save(tmp_path / "here")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from artefacts.samples import CATALOGUE, filled\n"
        "from quickstudy.artefacts import save_model\n"
        "save_model(sys.argv[2], filled(), catalogue=CATALOGUE)"
    )
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", code, tests, str(tmp_path / "there")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / place).iterdir()}
        for place in ("here", "there")
    )
    assert here == there


def test_the_digest_is_of_what_predictions_rest_on(tmp_path: Path) -> None:
    digest = save(tmp_path).digest
    assert save(tmp_path, metrics={"accuracy": 1.0}, training={"steps": 3}).digest == digest
    others = [
        save(tmp_path, 2.0),
        save(tmp_path, preprocessing={"size": 28}),
        save(tmp_path, input_shape=[3]),
        save_model(tmp_path, filled(steps=4), catalogue=CATALOGUE),
    ]
    assert len({digest, *(other.digest for other in others)}) == 5


def test_tied_and_strided_weights_are_stored_and_stay_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.register_buffer("part", torch.arange(12.0).view(3, 4).T[1:])
            self.register_buffer("spread", torch.zeros(1).expand(5))

    tied = Tied().double()
    save_model(tmp_path, tied, catalogue={"Tied": Tied})
    loaded = load_model(tmp_path, catalogue={"Tied": Tied}).learner
    assert alike(dict(loaded.state_dict()), dict(tied.state_dict()))
    assert loaded.a.weight is loaded.b.weight  # type: ignore[union-attr]


# A user's own module


class Own(nn.Module):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.layer = nn.Linear(wide, 2)  # keeps no argument under its own name


@pytest.mark.parametrize("whole", [True, False])
def test_an_own_module_is_handed_in(tmp_path: Path, whole: bool) -> None:
    own = Own(3)
    learner = own if whole else filled(net=own)
    manifest = save_model(tmp_path, learner, catalogue=CATALOGUE)
    assert f"{__name__}:Own" in json.dumps(manifest.learner)
    net = Own(3)
    loaded = load_model(tmp_path, catalogue=CATALOGUE, net=net).learner
    assert (loaded if whole else loaded.net) is net
    assert alike(dict(loaded.state_dict()), dict(learner.state_dict()))
    with pytest.raises(ArtefactError, match=r"holds its owner's .*:Own; hand one in.* net=Own\("):
        load_model(tmp_path, catalogue=CATALOGUE)


def test_a_net_that_does_not_fit_is_refused_unchanged(tmp_path: Path) -> None:
    save_model(tmp_path, filled(net=Own(3)), catalogue=CATALOGUE)
    net = Own(4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    message = r"weights do not fit: 'net\.layer\.weight' is \[2, 3\], wanted \[2, 4\]"
    with pytest.raises(ArtefactError, match=message):
        load_model(tmp_path, catalogue=CATALOGUE, net=net)
    assert alike(dict(net.state_dict()), before)


# What cannot be stored


def test_a_model_that_could_not_be_loaded_is_not_stored(tmp_path: Path) -> None:
    learner = filled()
    learner.extra = nn.Linear(1, 1)  # no constructor makes it
    message = "cannot store this Learner: the weights do not fit: 'extra.bias' is there, and"
    with pytest.raises(ArtefactError, match=message):
        save_model(tmp_path / "a", learner, catalogue=CATALOGUE)
    assert names(tmp_path) == []


def test_a_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Extra(nn.Module):
        def get_extra_state(self) -> dict[str, int]:
            return {"a": 1}

    with pytest.raises(ArtefactError, match="Extra keeps '_extra_state', a dict, in its state"):
        save_model(tmp_path, Extra(), catalogue={})


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.LazyLinear(3), "'weight' of a lazy module has no values yet"),
        (nn.Linear(1, 1, device="meta"), "'weight' is torch.float32, torch.strided, on meta"),
        (nn.Linear(1, 1, dtype=torch.complex64), "'weight' is torch.complex64"),
    ],
)
def test_tensors_without_plain_values_are_refused(
    tmp_path: Path, module: nn.Module, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        save_model(tmp_path, module, catalogue={})


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"metrics": {"a": torch.ones(1)}}, "metrics.a is a Tensor; wanted a JSON value"),
        ({"training": {"data": {1: 2}}}, "training.data has the key 1"),
        ({"preprocessing": [1]}, "is no manifest: preprocessing: Input should be a valid dict"),
        ({"input_shape": ("a", 3)}, r"is no manifest: input_shape\.0: Input should be a valid int"),
        ({"preprocessing": {"path": "\udce9"}}, "preprocessing.path .* valid Unicode"),
    ],
)
def test_details_are_json(tmp_path: Path, details: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        save(tmp_path / "a", **details)
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", ['{"name": "my web page"}', "[]", "not JSON", ""])
def test_a_foreign_manifest_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtefactError, match="it is not replaced: choose another folder"):
        save(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == content
    assert names(tmp_path) == ["manifest.json"]


def test_a_damaged_model_of_ours_may_be_replaced(tmp_path: Path) -> None:
    save(tmp_path, 1.0)
    rewrite(tmp_path, lambda document: document.update(metrics={"a": 1}), honest=False)
    save(tmp_path, 2.0)
    assert load_model(tmp_path, catalogue=CATALOGUE).learner.head[0] == 2.0  # type: ignore[index]


# What cannot be loaded


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("none", "there is no model at .*none: no such folder"),
        ("file", "file is a file; wanted a model"),
        ("empty", "no model at .*empty: the folder has no manifest.json"),
    ):
        with pytest.raises(ArtefactError, match=message):
            load_model(tmp_path / name, catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2, "library": "9.9"}, "schema 2, written by quickstudy 9.9; .* upgrade"),
        ({"schema": "1"}, "has the schema '1'; wanted a number from 1 to 1"),
        ({"schema": True}, "has the schema True; wanted"),
        ({"format": "quickstudy state"}, "is a quickstudy state; wanted a quickstudy model"),
        ({"format": None}, "is nothing of quickstudy's; wanted a quickstudy model"),
        ({"learner": 3}, "is no manifest: learner: Input should be a valid dict"),
        ({"learner": {}}, "describes a dict; wanted a module"),
        ({"learner": {"name": "X", "arguments": {}}}, "'X' is unknown; wanted one of Learner, Ne"),
        ({"input_shape": ["3"]}, r"is no manifest: input_shape\.0"),
    ],
)
def test_manifests_that_cannot_be_used_say_why(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    save(tmp_path)
    rewrite(tmp_path, lambda document: document.update(change))
    with pytest.raises(ArtefactError, match=message) as caught:
        load_model(tmp_path, catalogue=CATALOGUE)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "weights-x.safetensors"])
def test_weights_lie_in_the_folder(tmp_path: Path, name: str) -> None:
    save(tmp_path)
    rewrite(tmp_path, lambda document: document["weights"].update(file=name))
    with pytest.raises(ArtefactError, match=r"is no manifest: weights\.file"):
        load_model(tmp_path, catalogue=CATALOGUE)


def test_fields_of_a_newer_release_are_ignored(tmp_path: Path) -> None:
    save(tmp_path)

    def change(document: dict[str, Any]) -> None:
        document["mood"] = "good"
        document["weights"]["compression"] = None

    rewrite(tmp_path, change)
    assert load_model(tmp_path, catalogue=CATALOGUE).learner.head[0] == 1.0  # type: ignore[index]


def test_an_edited_manifest_is_noticed_and_a_reformatted_one_is_fine(tmp_path: Path) -> None:
    save(tmp_path, metrics={"accuracy": 0.5})
    rewrite(tmp_path, lambda document: None, honest=False)
    load_model(tmp_path, catalogue=CATALOGUE)
    rewrite(tmp_path, lambda document: document.update(metrics={"accuracy": 0.9}), honest=False)
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged or was edited"):
        load_model(tmp_path, catalogue=CATALOGUE)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    save(tmp_path)
    file = weights(tmp_path)
    file.unlink()
    message = f"cannot read {file}: No such file or directory; manifest.json beside it names it"
    with pytest.raises(ArtefactError, match=message):
        load_model(tmp_path, catalogue=CATALOGUE)


@pytest.mark.parametrize("which", ["manifest.json", "weights"])
def test_files_of_other_lengths_are_noticed(tmp_path: Path, which: str) -> None:
    manifest = save(tmp_path)
    file = tmp_path / (manifest.weights.file if which == "weights" else which)
    good = file.read_bytes()
    for bad in damaged(good):
        file.write_bytes(bad)
        if which == "manifest.json" and bad.strip() == good.strip():
            continue  # all that is missing is the last line's end
        with pytest.raises(ArtefactError, match=str(tmp_path)):
            load_model(tmp_path, catalogue=CATALOGUE)


@pytest.mark.parametrize("which", ["manifest.json", "weights"])
def test_every_flipped_bit_is_noticed(tmp_path: Path, which: str) -> None:
    manifest = save(tmp_path)
    file = tmp_path / (manifest.weights.file if which == "weights" else which)
    for _ in flips(file):
        with pytest.raises(ArtefactError):
            load_model(tmp_path, catalogue=CATALOGUE)
    load_model(tmp_path, catalogue=CATALOGUE)


def test_weights_of_another_learner_say_what_does_not_fit(tmp_path: Path) -> None:
    save(tmp_path)
    given = {"net": {"name": "Net", "arguments": {"widths": [3, 5], "bias": False}}}
    rewrite(tmp_path, lambda document: document["learner"].update(arguments=given))
    with pytest.raises(ArtefactError) as caught:
        load_model(tmp_path, catalogue=CATALOGUE)
    assert str(caught.value) == (
        f"{tmp_path}: the weights do not fit: 'net.layer.bias' is there, and the learner has no "
        "such tensor; 'net.layer.weight' is [4, 3], wanted [5, 3]; 'net.mean' is [4], wanted [5]"
    )


def test_an_unknown_device_is_named(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(ArtefactError, match="cannot use the device abacus: "):
        load_model(tmp_path, catalogue=CATALOGUE, device="abacus")
