"""Whatever the catalogue names works everywhere, by its name alone."""

import numpy as np
import pytest
from PIL import Image

from hub.folders import SMALL, draw_folder
from quickstudy import FewShotClassifier
from quickstudy.hub.catalogue import LEARNERS, TRAINABLE

TRAINED = [name for name, cls in TRAINABLE.items() if "classes" in cls.tasks]
TINY = ["--steps", "2", *(option for option in SMALL if option not in ("--learner", "protonet"))]


@pytest.mark.parametrize("name", TRAINED)
def test_train_evaluate_adapt_predict_and_the_estimator(name, photos, tmp_path, call):
    run, state = tmp_path / "run", tmp_path / "mine.state"
    said = call("train", "--data", photos, "--learner", name, *TINY, "--out", run)
    assert said.code == 0, said.err
    judged = call("evaluate", run, "--tasks", 3, "--ways", 2, "--queries", 2, "--json").json
    assert 0 <= judged["accuracy"] <= 1
    assert judged["control"]["name"] == "NearestMean"
    assert 0 <= judged["ece"] <= 1

    draw_folder(tmp_path / "mine", classes=3, each=2)
    said = call("adapt", run, "--support", tmp_path / "mine", "--out", state, "--json")
    assert said.json["labels"] == {"class00": 2, "class01": 2, "class02": 2}, said.err
    files = sorted((tmp_path / "mine").rglob("*.png"))
    answers = call("predict", state, *files, "--json").json
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    note = call("predict", state, *files).err
    assert ("answered together" in note) is LEARNERS[name].transductive
    for answer in answers:
        assert answer.get("transductive", False) is LEARNERS[name].transductive
        shares = answer["probabilities"]
        assert answer["label"] == max(shares, key=shares.get)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)

    pictures = [np.asarray(Image.open(file)) for file in files]
    classifier = FewShotClassifier(run).fit(pictures, [file.parent.name for file in files])
    assert classifier.predict(pictures).tolist() == [answer["label"] for answer in answers]


@pytest.mark.parametrize("name", [n for n in TRAINED if LEARNERS[n].steps_argument])
def test_inner_steps_can_be_swept(name, photos, tmp_path, call):
    run = tmp_path / "run"
    assert call("train", "--data", photos, "--learner", name, *TINY, "--out", run).code == 0
    said = call(
        "evaluate", run, "--tasks", 3, "--ways", 2, "--queries", 2, "--inner-steps", "1,3",
        "--plot", tmp_path / "steps.png", "--json",
    )  # fmt: skip
    assert [row["inner_steps"] for row in said.json["rows"]] == [1, 3], said.err
    assert (tmp_path / "steps.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("name", [n for n in LEARNERS if LEARNERS[n].family == "control"])
def test_a_control_has_nothing_to_train(name, photos, tmp_path, call):
    said = call("train", "--data", "sinusoids", "--learner", name, "--out", tmp_path / "run")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
