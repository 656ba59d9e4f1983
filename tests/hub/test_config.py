import pytest

from quickstudy.errors import RunError
from quickstudy.hub.commands.train import pairs
from quickstudy.hub.commands.train import train as train_command
from quickstudy.hub.config import TrainConfig, make_config
from quickstudy.hub.recipes import RECIPES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"steps": -3}, "--steps must be at least 1, got -3"),
        ({"ways": "1"}, "--ways must be at least 2, got 1"),
        ({"ways": "-5"}, "--ways must be at least 2, got -5"),
        ({"ways": "20-5"}, "--ways must be a range from a smaller to a larger number, got '20-5'"),
        ({"ways": "many"}, "--ways must be a whole number or a range such as 5-20, got 'many'"),
        ({"shots": "0"}, "--shots must be at least 1, got 0"),
        ({"queries": 0}, "--queries must be at least 1, got 0"),
        ({"rate": 0}, "--rate must be more than 0, got 0"),
        ({"rate": float("nan")}, "--rate must be a finite number, got nan"),
        ({"average": 1.0}, "--average must be less than 1, got 1.0"),
        (
            {"schedule": "warm"},
            "--schedule must be one of 'constant', 'cosine' or 'one-cycle', got",
        ),
        ({"channels": 2}, "--channels must be one of 1 or 3, got 2"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"data": ""}, "--data must not be empty, got ''"),
        ({"stepps": 3}, "--stepps is no option, got 3; did you mean steps?"),
    ],
)
def test_bad_options_are_one_line_each(given, message):
    with pytest.raises(RunError) as error:
        make_config(given)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(RunError, match=r"--steps .*; --rate "):
        make_config({"steps": 0, "rate": -1.0})


def test_ranges():
    config = make_config({"ways": "5-20", "shots": "2-2"})
    assert (config.ways, config.shots) == ((5, 20), 2)
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_valid_and_flags_override_them(recipe):
    assert make_config({}, recipe).recipe == recipe
    config = make_config({"steps": 3, "learner_options": {"turns": 2}}, recipe)
    assert config.steps == 3
    assert config.learner_options == RECIPES[recipe].options()["learner_options"] | {"turns": 2}


def test_a_recipes_options_of_a_method_go_only_with_that_method():
    config = make_config({"learner": "MAML", "backbone_options": {"width": 8}}, "fonts")
    assert config.learner_options == {}
    assert config.backbone_options == RECIPES["fonts"].options()["backbone_options"] | {"width": 8}


@pytest.mark.parametrize(
    "method", [{"learner": "protonet"}, {"learner": "Proto-Net"}, {"backbone": "conv_4"}]
)
def test_a_recipes_options_stay_however_its_method_is_written(method):
    config = make_config(method, "fonts")
    assert config.learner_options == RECIPES["fonts"].options()["learner_options"]
    assert config.backbone_options == RECIPES["fonts"].options()["backbone_options"]


def test_a_recipe_tells_each_learner_its_own_options():
    proto, maml, other = (
        make_config({"learner": name}, "paper-20way-1shot")
        for name in ("proto_net", "MAML", "MatchingNet")
    )
    assert (proto.ways, proto.learner_options["turns"]) == (60, 5)
    assert (maml.learner_options, maml.inner_rate, other.inner_rate) == ({}, 0.1, None)
    assert other.steps < proto.steps
    assert {c.validation_sizes for c in (proto, maml, other)} == {(20, 1, 5)}
    assert {c.data for c in (proto, maml, other)} == {"omniglot"}


def test_options_of_a_rule_are_taken_along_with_a_recipe():
    given = {"learner": "maml", "rule": "LearnedRates", "rule_options": {"per": "tensor"}}
    assert make_config(given, "fonts").rule_options == {"per": "tensor"}


def test_an_unknown_recipe():
    with pytest.raises(
        RunError, match=r"--recipe must be one of demo, fonts, grocery, paper-.*, got 'lunch'"
    ):
        make_config({}, "lunch")


def test_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert make_config({"data": "photos"}).data == str(tmp_path / "photos")
    assert make_config({"data": "glyphs"}).data == "glyphs"


def test_every_option_has_a_flag_that_names_its_default():
    """The help is written by hand, so that it shows without pydantic; this keeps it true."""
    flags = set(train_command.__annotations__)
    own = {f"{what}_options": f"{what}_option" for what in ("learner", "backbone", "rule")}
    without_flag = {"checkpoint_seconds"}
    for name, field in TrainConfig.model_fields.items():
        if name in without_flag:
            continue
        assert own.get(name, name) in flags, name
        option = train_command.__annotations__[own.get(name, name)].__metadata__[0]
        default = field.default
        if isinstance(default, bool) or default in (None, "auto") or name in own:
            continue
        said = f"{default:g}" if isinstance(default, float) else str(default)
        assert f"Default: {said}" in option.help, name


def test_recipes_named_in_the_help():
    option = train_command.__annotations__["recipe"].__metadata__[0]
    assert all(name in option.help for name in RECIPES)


def test_pairs():
    assert pairs(["a=1", "b-c=[1, 2]", "d=x=y"], "--x") == {"a": 1, "b_c": [1, 2], "d": "x=y"}
    with pytest.raises(RunError, match=r"--x must be NAME=VALUE, got 'a'"):
        pairs(["a"], "--x")
