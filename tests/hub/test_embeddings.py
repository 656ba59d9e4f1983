"""The net of a stored run, read by another method."""

import pytest
import torch
from torch import nn

import quickstudy as qs
from hub.folders import SMALL
from quickstudy.core import evaluate
from quickstudy.core.functional import prototypes
from quickstudy.errors import RunError
from quickstudy.hub import catalogue
from quickstudy.hub.embeddings import reading
from quickstudy.hub.evaluating import Setting, evaluate_run
from quickstudy.hub.subjects import open_domain, open_subject
from quickstudy.learners.embedding import EmbeddingLearner
from quickstudy.nets.norm import BatchNorm

QUICK = ["--ways", "2", "--queries", "3", "--tasks", "6", "--threads", "1"]
SETTING = Setting(ways=2, queries=3, tasks=6)
READERS = ["bd-cspn", "tim", "ptmap", "LaplacianShot", "soft-k-means", "matching-net", "maml"]


@pytest.fixture(autouse=True)
def _settings():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("name", READERS)
def test_a_method_reads_the_net_of_a_run(name, trained, call):
    said = call("evaluate", trained, *QUICK, "--learner", name, "--json")
    assert (said.code, said.err) == (0, "")
    row = said.json
    cls = catalogue.learner_named(name)
    assert list(row)[:4] == ["run", "learner", "embedding_of", "data"]
    assert (row["learner"], row["embedding_of"]) == (cls.__name__, "ProtoNet")
    assert row["transductive"] == cls.transductive
    # The same by hand: the net, with its weights and population statistics, in a new learner.
    net = qs.load(trained).net
    norms = [m for m in net.modules() if isinstance(m, BatchNorm)]
    assert norms
    assert all(m.mean.any() for m in norms)
    source, split = open_domain(open_subject(trained))
    score = evaluate(cls(net), source.tasks(split, 2, 1, 3), tasks=6, seed=0)
    assert row["accuracy"] == pytest.approx(score.mean, abs=1e-6)
    assert evaluate_run(trained, SETTING, learner=name, threads=1) == row
    assert "learner" not in evaluate_run(trained, SETTING, threads=1)


def test_people_see_whose_embedding_it_is_and_options_are_taken(trained, call):
    said = call("evaluate", trained, *QUICK, "--learner", "tim", "--learner-option", "steps=0")
    assert "TIM on the embedding of ProtoNet" in said.out
    assert "transductive" in said.out
    said = call("evaluate", trained, *QUICK, "--learner", "tim", "--inner-steps", "0,5")
    assert f"{trained} (TIM on the embedding of ProtoNet): 2-way 1-shot on" in said.out
    rows = [
        call("evaluate", trained, *QUICK, "--learner", "tim", *more, "--json").json
        for more in (["--learner-option", "steps=3"], ["--inner-steps", "3"])
    ]
    assert rows[0].pop("learner_options") == {"steps": 3}
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learner", "ptmapp"], "did you mean PTMAP?"),
        (["--learner", "nearest-mean"], "NearestMean reads no net, so it takes no embedding of"),
        (["--learner", "r2d2"], "R2D2 meta-learns more than an embedding (log_penalty, slope)"),
        (["--learner", "meta-sgd"], "MetaSGD meta-learns more than an embedding (rule."),
        (
            ["--learner", "soft-k-means", "--learner-option", "distractors=true"],
            "SoftKMeans meta-learns more than an embedding (log_radius), which this ProtoNet has",
        ),
        (["--learner", "tim", "--learner-option", "rate=1"], "TIM takes no --learner-option rate"),
        (["--learner", "tim", "--learner-option", "steps=-1"], "no fewer than zero steps"),
        (["--learner-option", "steps=1"], "ProtoNet takes no --learner-option steps"),
        (["--learner-option", "temperature=2"], "--learner-option temperature: what a ProtoNet"),
        (["--learner-option", "shift=-1"], "images are shifted by 0 pixels or more, got -1"),
    ],
)
def test_what_cannot_read_it_is_refused(options, message, trained, call):
    said = call("evaluate", trained, *QUICK, *options)
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1


def test_nets_that_are_none_or_were_never_calibrated_are_refused(photos, tmp_path, call):
    with pytest.raises(RunError, match="NearestMean has no net that TIM could read"):
        reading(qs.NearestMean(), "tim")
    values = qs.R2D2(qs.MLP(1, [8], 8), targets="values")
    with pytest.raises(RunError, match="R2D2 learned an embedding for values, and TIM is for cl"):
        reading(values, "tim")
    run = tmp_path / "run"
    made = [*SMALL, "--learner", "maml", "--steps", "2", "--out", run]
    assert call("train", "--data", photos, *made).code == 0
    said = call("evaluate", run, *QUICK, "--learner", "protonet")
    assert "MAML sets no population statistics of batch norms, which ProtoNet needs" in said.err
    # A method whose norms use the support's own statistics does not need them.
    assert call("evaluate", run, *QUICK, "--learner", "reptile", "--json").json["tasks"] == 6
    assert reading(qs.MAML(qs.MLP(2, norm="group")), "tim").steps == 50


def test_a_trained_learner_takes_other_options(photos, tmp_path, call):
    run = tmp_path / "run"
    made = [*SMALL, "--learner", "meta-sgd", "--steps", "2", "--out", run]
    assert call("train", "--data", photos, *made).code == 0
    own = call("evaluate", run, *QUICK, "--json").json
    told = ["--learner-option", "transductive=true"]
    for whose in ([], ["--learner", "metasgd"]):
        row = call("evaluate", run, *QUICK, *whose, *told, "--json").json
        assert (own["transductive"], row["transductive"]) == (False, True)
        assert row["learner_options"] == {"transductive": True}
        assert "embedding_of" not in row
    # By hand: the same weights, rates included, and another way to read the norms.
    learner = qs.load(run)
    learner.transductive = True
    source, split = open_domain(open_subject(run))
    score = evaluate(learner, source.tasks(split, 2, 1, 3), tasks=6, seed=0)
    assert row["accuracy"] == pytest.approx(score.mean, abs=1e-6)


class Centred(EmbeddingLearner):
    """Prototypes relative to the mean embedding of the meta-train tasks."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.register_buffer("centre", torch.zeros(net.features))

    def calibrate(self, batch):
        super().calibrate(batch)
        self.centre.copy_(self.net(batch.support.x.flatten(0, 1)).mean(0))

    def summarise(self, z, support):
        return prototypes(z - self.centre, support.y, support.mask)

    def compare(self, state, z):
        return (z - self.centre) @ state.T


def test_figures_of_meta_train_are_taken_anew_and_the_nets_own_stay(trained, monkeypatch):
    monkeypatch.setitem(catalogue.LEARNERS, "Centred", Centred)
    stored = open_subject(trained)
    before = {n: b.clone() for n, b in stored.learner.net.named_buffers()}
    made = stored.read_by("centred").learner
    assert made.centre.any()
    assert not made.training
    assert all(torch.equal(b, before[n]) for n, b in made.net.named_buffers())
