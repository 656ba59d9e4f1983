import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.core import SGD
from quickstudy.core.tasks import leaves
from quickstudy.errors import RunError, TaskError
from quickstudy.hub.catalogue import (
    CATALOGUE,
    LEARNERS,
    backbones,
    build_learner,
    find,
    load,
    load_model,
    save,
)
from quickstudy.hub.config import TrainConfig
from quickstudy.hub.runs import create_run

IMAGE = (1, 16, 16)


def build(shape=IMAGE, outputs=None, **options):
    return build_learner(TrainConfig(**{"down": "stride", "width": 4} | options), shape, outputs)


def test_every_room_is_in_the_catalogue():
    assert {"ProtoNet", "MAML", "NearestMean", "Conv4", "MLP", "SGD"} <= CATALOGUE.keys()
    assert "Learner" not in CATALOGUE
    assert "BatchNorm" not in backbones()


@pytest.mark.parametrize("name", ["ProtoNet", "protonet", "PROTO-NET", "proto_net"])
def test_names_are_found_however_they_are_written(name):
    assert find(name, LEARNERS, "--learner") is qs.ProtoNet


def test_options_go_to_the_constructor_that_has_them():
    learner = build(learner="maml", inner_steps=3, inner_rate=0.5, first_order=True, norm="group")
    assert (learner.steps, learner.first_order, learner.net.norm) == (3, True, "group")
    assert isinstance(learner.rule, SGD)
    assert learner.rule.rate == 0.5
    assert learner.net.size == 16
    assert build(learner_options={"temperature": 2}).temperature == 2.0


def test_a_flag_goes_before_a_general_option():
    assert build(width=4, backbone_options={"width": 8}).net.width == 4


def test_inputs_decide_the_backbone():
    assert isinstance(build((3, 32, 32)).net, qs.Conv4)
    mlp = build((7,), width=None, down=None, backbone_options={"hidden": [5], "outputs": 3}).net
    assert isinstance(mlp, qs.MLP)
    assert (mlp.inputs, mlp.hidden, mlp.outputs) == (7, [5], 3)


def test_real_targets_get_their_head():
    learner = build((1,), outputs=1, learner="maml", width=None, down=None)
    assert (learner.outputs, learner.targets) == (1, "values")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": "protonett"}, "--learner must be one of .*did you mean ProtoNet"),
        ({"learner": "zzz"}, "--learner must be one of .*MAML.*, got 'zzz'$"),
        ({"backbone": "resnet"}, "--backbone must be one of Conv4, MLP.*, got 'resnet'"),
        ({"inner_steps": 3}, "ProtoNet takes no --inner-steps; it takes distance, temperature"),
        ({"first_order": True}, "ProtoNet takes no --first-order"),
        ({"learner": "maml", "inner_steps": -1}, "--inner-steps must be positive, got -1"),
        ({"learner": "maml", "inner_rate": 0.0}, r"--inner-rate must be positive, got 0\.0"),
        ({"width": 0}, "--width must be positive, got 0"),
        ({"backbone": "mlp"}, "MLP takes no --down; it takes inputs, hidden, outputs, norm"),
        ({"learner_options": {"warmth": 1}}, "ProtoNet takes no --learner-option warmth; it takes"),
        ({"learner_options": {"net": 1}}, "ProtoNet takes no --learner-option net"),
        ({"learner_options": {"temperature": "hot"}}, "--learner-option temperature=hot: input sh"),
        ({"learner_options": {"turns": 1.5}}, "--learner-option turns=1.5: input should be a val"),
        ({"learner_options": {"distance": "far"}}, "--learner-option distance=far: input should"),
        ({"backbone_options": {"halvings": "x"}}, "--backbone-option halvings=x: input should be"),
        ({"learner": "nearestmean"}, "NearestMean has no backbone, so it takes no --down"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(options, message):
    with pytest.raises(RunError, match=message) as error:
        build(**options)
    assert "\n" not in str(error.value)


def test_values_out_of_range_are_the_constructors_to_refuse():
    with pytest.raises(TaskError, match=r"temperature must be positive"):
        build(learner_options={"temperature": -1})
    with pytest.raises(TaskError, match=r"down must be pool or stride, got 'up'"):
        build(down="up")


def test_what_cannot_be_trained():
    with pytest.raises(RunError, match=r"NearestMean has nothing to train"):
        build_learner(TrainConfig(learner="nearestmean"), IMAGE)
    with pytest.raises(
        RunError, match=r"ProtoNet learns classes, and .* learners for those: ANIL, .*DKT, .*MAML"
    ):
        build((1,), outputs=1, width=None, down=None)
    with pytest.raises(
        RunError, match=r"ALPaCA learns values, and .* glyphs are classes; .* for those: ANIL"
    ):
        build(learner="alpaca")
    with pytest.raises(RunError, match=r"Conv4 takes images .*use --backbone MLP"):
        build((7,), backbone="conv4")


def test_a_model_comes_back(tmp_path):
    torch.manual_seed(0)
    learner = build()
    save(tmp_path, learner, input_shape=IMAGE, metrics={"accuracy": 0.5})
    again, model = load_model(tmp_path)
    assert model.manifest.metrics == {"accuracy": 0.5}
    assert not again.training
    for name, tensor in learner.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x.flatten(1))


def test_a_users_own_net_is_handed_in(tmp_path):
    qs.save(tmp_path, qs.ProtoNet(Own()))
    with pytest.raises(qs.ArtefactError, match=r"hand one in.*net=Own"):
        qs.load(tmp_path)
    assert isinstance(qs.load(tmp_path, net=Own()).net, Own)


def test_what_is_no_model_yet(tmp_path):
    with pytest.raises(RunError, match=r"there is no run .*none: no such folder"):
        load(tmp_path / "none")
    with pytest.raises(qs.ArtefactError, match=r"the folder has no manifest\.json"):
        load(tmp_path)
    create_run(tmp_path / "run", TrainConfig())
    with pytest.raises(RunError, match=r"has no model yet.*`quickstudy resume .*run` goes on"):
        load(tmp_path / "run")


def test_what_a_loaded_learner_adapts_to_is_numbers_and_no_graph(tmp_path):
    qs.save(tmp_path / "model", qs.MAML(qs.MLP(4, [4], 4), steps=1))
    learner = qs.load(tmp_path / "model")
    state = learner.adapt(qs.examples(torch.rand(2, 4), torch.tensor([0, 1]), way=2))
    assert not learner.training
    assert not any(leaf.requires_grad for leaf in leaves(state))
