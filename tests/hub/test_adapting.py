import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import quickstudy as qs
from hub.folders import draw_folder
from quickstudy.hub.adapting import adapt, probabilities


@pytest.fixture
def mine(tmp_path):
    """Three classes of 1, 2 and 3 images."""
    folder = draw_folder(tmp_path / "mine", classes=3, each=3)
    os.remove(folder / "class00" / "1.png")
    os.remove(folder / "class00" / "2.png")
    os.remove(folder / "class01" / "2.png")
    (folder / "class00").rename(folder / "Ä & b")
    return folder


def test_from_a_folder_to_answers(trained, mine, tmp_path, call):
    state = tmp_path / "mine.state"
    said = call("adapt", trained, "--support", mine, "--out", state, "--json").json
    assert said["labels"] == {"class01": 2, "class02": 3, "Ä & b": 1}
    files = [mine / "Ä & b" / "0.png", mine / "class02" / "1.png"]
    answers = call("predict", state, *files, "--json").json
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    for answer in answers:
        assert answer.keys() == {"file", "label", "probabilities"}
        assert answer["probabilities"].keys() == said["labels"].keys()
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert [answer["label"] for answer in answers] == ["Ä & b", "class02"]
    alone = call("predict", state, files[1], "--json").json
    assert alone[0]["probabilities"] == pytest.approx(answers[1]["probabilities"], abs=1e-5)
    whole = call("predict", state, mine / "class02").out.splitlines()
    assert len(whole) == 3
    assert whole[1].startswith(f"{files[1]}: class02 (")


def test_the_same_as_in_python(trained, mine, tmp_path, call):
    state = tmp_path / "mine.state"
    call("adapt", trained, "--support", mine, "--out", state)
    answer = call("predict", state, mine / "class02" / "0.png", "--json").json[0]
    paths = sorted(mine.glob("*/*.png"))
    clf = qs.FewShotClassifier(str(trained)).fit(paths, [p.parent.name for p in paths])
    shares = clf.predict_proba([mine / "class02" / "0.png"])[0]
    found = [answer["probabilities"][label] for label in clf.classes_]
    np.testing.assert_allclose(found, shares, atol=1e-5)


def test_a_state_knows_its_model(trained, mine, tmp_path, call):
    run, state = tmp_path / "run", tmp_path / "mine.state"
    shutil.copytree(trained, run)
    assert call("adapt", run, "--support", mine, "--out", state).code == 0
    run.rename(tmp_path / "moved")
    picture = mine / "class02" / "0.png"
    lost = call("predict", state, picture)
    assert (lost.code, lost.out) == (2, "")
    assert "which is not there; say where it is now with --model" in lost.err
    assert call("predict", state, picture, "--model", tmp_path / "moved").code == 0
    qs.save(tmp_path / "other", qs.NearestMean(), preprocessing={"size": 20, "channels": 1})
    other = call("predict", state, picture, "--model", tmp_path / "other")
    assert "belongs to the model" in other.err
    assert "adapt again" in other.err


def test_a_state_is_replaced_only_if_asked_and_only_if_it_is_one(trained, mine, tmp_path, call):
    state, letter = tmp_path / "mine.state", tmp_path / "letter.txt"
    letter.write_text("dear")
    make = ["adapt", trained, "--support", mine, "--out"]
    assert call(*make, state).code == 0
    before = state.read_bytes()
    assert "exists; name another file, or replace it with --overwrite" in call(*make, state).err
    assert call(*make, state, "--overwrite").code == 0
    assert state.read_bytes() == before
    assert "is no state, so it is not replaced" in call(*make, letter, "--overwrite").err
    assert letter.read_text() == "dear"
    assert "is a folder; wanted a file" in call(*make, tmp_path).err
    assert "letter.txt is no folder" in call(*make, letter / "a.state").err


def test_drawings_of_either_polarity(data_cache, tmp_path, call):
    """A model of bright ink reads dark ink on paper and chalk on a board alike."""
    run = tmp_path / "run"
    qs.save(
        run, qs.NearestMean(), preprocessing={"size": 28, "channels": 1, "polarity": "ink"},
        input_shape=(1, 28, 28),
    )  # fmt: skip
    for name, box in {"lying": (8, 26, 56, 36), "standing": (26, 8, 36, 56)}.items():
        for number, (paper, ink) in enumerate([(255, 0), (0, 255)]):
            page = Image.new("L", (64, 64), paper)
            page.paste(ink, box)
            path = tmp_path / ("mine" if number == 0 else "new") / name / "a.png"
            path.parent.mkdir(parents=True)
            page.save(path)
    state = tmp_path / "mine.state"
    assert call("adapt", run, "--support", tmp_path / "mine", "--out", state).code == 0
    new = [tmp_path / "new" / name / "a.png" for name in ("lying", "standing")]
    answers = call("predict", state, *new, "--json").json
    assert [answer["label"] for answer in answers] == ["lying", "standing"]


@pytest.mark.parametrize("transductive", [True, False])
def test_a_transductive_learner_sees_all_images_at_once(transductive):
    torch.manual_seed(0)
    net = qs.MLP(4, [8], 8, norm="batch")
    learner = qs.MAML(net, steps=1, transductive=transductive).eval()
    images = torch.randint(0, 256, (300, 1, 2, 2), dtype=torch.uint8)
    state = adapt(learner, images[:4], torch.tensor([0, 1, 0, 1]), 2)
    with torch.no_grad():
        whole = learner.probabilities(state, images / 255)
    torch.testing.assert_close(probabilities(learner, state, images), whole)


def test_images_take_the_learners_precision():
    learner = qs.ProtoNet(qs.MLP(4, [8], 8)).double().eval()
    images = torch.randint(0, 256, (4, 1, 2, 2), dtype=torch.uint8)
    state = adapt(learner, images, torch.tensor([0, 1, 0, 1]), 2)
    assert probabilities(learner, state, images).dtype == torch.float64
