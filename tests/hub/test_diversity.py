import math

import pytest

from hub.folders import draw_folder
from quickstudy.hub.source import Wanted
from quickstudy.hub.sources import open_source

FIGURES = {
    "classes", "examples", "groups", "effective_groups", "effective_dimension", "variance_ratio",
    "distinct", "shared", "seen", "tasks", "control", "control_spread", "hard", "easy",
    "coefficient", "interval95",
}  # fmt: skip


def test_the_report_of_a_folder(photos, call):
    options = ["--ways", "2", "--shots", "1", "--queries", "2", "--tasks", "30"]
    said = call("data", "diversity", photos, *options, "--json")
    assert (said.code, said.err) == (0, "")
    report = said.json
    assert list(report) == [
        "data", "ways", "shots", "queries", "tasks", "seed", "splits", "remarks",
    ]  # fmt: skip
    assert list(report["splits"]) == ["train", "validation", "test"]
    assert all(part.keys() == FIGURES for part in report["splits"].values())
    sizes = [part["classes"] for part in report["splits"].values()]
    assert sum(sizes) == 12
    for size, part in zip(sizes, report["splits"].values(), strict=True):
        assert part["distinct"] == math.comb(size, 2)
        assert part["shared"] == pytest.approx(4 / size, abs=1e-6)
        assert part["examples"] == 5 * size
    assert call("data", "diversity", photos, *options, "--json").json == report
    alone = call("data", "diversity", photos, *options, "--split", "train", "--json").json
    assert alone["splits"] == {"train": report["splits"]["train"]}


def test_people_see_splits_side_by_side_and_what_should_give_pause(photos, call):
    said = call("data", "diversity", photos, "--ways", "3", "--queries", "2", "--tasks", "5")
    assert said.code == 0
    lines = said.out.splitlines()
    assert [cell.strip() for cell in lines[2].split("┃")[2:-1]] == ["train", "validation", "test"]
    assert any(line.startswith("│ task-diversity coefficient") for line in lines)
    train = open_source(str(photos)).pools["train"].classes
    assert (
        f"note: meta-train has {train} classes, so two 3-way tasks share {9 / train:.1f} of them "
        "on average: a learner can do well by remembering them (meta-overfitting)"
    ) in lines


def test_a_part_too_small_for_such_tasks_is_left_out_with_a_word(tmp_path, call):
    folder = draw_folder(tmp_path, classes=16, each=4)
    for part, some in {"train": range(10), "val": range(10, 12), "test": range(12, 16)}.items():
        (folder / part).mkdir()
        for number in some:
            (folder / f"class{number:02d}").rename(folder / part / f"class{number:02d}")
    said = call(
        "data", "diversity", folder, "--ways", "3", "--queries", "2", "--tasks", "4", "--json"
    )
    assert list(said.json["splits"]) == ["train", "test"]
    assert any(r.startswith("meta-validation is left out: ") for r in said.json["remarks"])
    few = draw_folder(tmp_path / "few", classes=4, each=4)
    said = call("data", "diversity", few, "--ways", "2", "--queries", "2", "--tasks", "4", "--json")
    assert list(said.json["splits"]) == ["all"]


@pytest.mark.parametrize("name", ["blobs", "sinusoids"])
def test_what_is_made_on_the_fly_has_one_column(name, call):
    said = call("data", "diversity", name, "--tasks", "40", "--json")
    assert list(said.json["splits"]) == ["train"]
    figures = said.json["splits"]["train"]
    assert ("between" in figures) == (name == "sinusoids")
    assert ("coefficient" in figures) == (name == "blobs")
    assert call("data", "diversity", name, "--tasks", "40").code == 0


def test_a_table_of_groups(tmp_path, call):
    rows = [f"g{g},{x / 10},{g * x}" for g in range(8) for x in range(-8, 8)]
    (tmp_path / "t.csv").write_text("\n".join(["group,x,y", *rows]))
    options = ["--group", "group", "--targets", "y", "--tasks", "40"]
    said = call("data", "diversity", tmp_path / "t.csv", *options, "--json")
    assert said.code == 0
    train = said.json["splits"]["train"]
    assert train.keys() == {"groups", "tasks", "between", "within", "interval95"}
    assert train["between"] > 3 * train["within"]
    assert any("meta-train has " in remark for remark in said.json["remarks"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "1"], "between two tasks or more, got --tasks 1"),
        (["--ways", "1"], "--ways must be at least 2, got 1"),
        (["--ways", "50"], "50-way tasks need 50 classes"),
        (["--split", "al"], "--split must be one of train, validation, test, all, got 'al'"),
        (["--ways", "2", "--shots", "9"], "has 5 images"),
        (["--group", "g"], "--group is for tables"),
    ],
)
def test_what_has_no_diversity(photos, call, options, message):
    said = call("data", "diversity", photos, *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert message in said.err


def test_omniglot_trains_on_tasks_as_diverse_as_those_it_is_judged_on(need, call):
    need.data("omniglot_28.npz")
    report = call("data", "diversity", "omniglot", "--json").json
    assert report["remarks"] == []
    train, test = (report["splits"][name] for name in ("train", "test"))
    assert (train["classes"], train["groups"], test["classes"]) == (1028, 33, 423)
    assert 0.3 < test["coefficient"] < train["coefficient"] < 0.45
    assert 0.35 < train["control"] < 0.5


def test_two_tasks_are_no_ground_for_a_remark(tmp_path, call):
    """The groups of meta-train are alike, those of meta-test are not."""
    path = tmp_path / "t.csv"

    def write(slopes):
        rows = [f"g{g:02d},{x / 10},{slopes.get(f'g{g:02d}', 1) * x}" for g in range(20)
                for x in range(-8, 8)]  # fmt: skip
        path.write_text("\n".join(["group,x,y", *rows]))

    write({})
    names = open_source(str(path), Wanted(group="group", targets=("y",))).pools["test"].names
    write(dict(zip(names, (1, -1, 3), strict=True)))
    asked = ["data", "diversity", path, "--group", "group", "--targets", "y", "--json"]
    few, many = (call(*asked, "--tasks", n).json for n in (2, 40))
    assert few["splits"]["train"]["between"] < few["splits"]["test"]["between"]
    assert {part["interval95"] for part in few["splits"].values()} == {None}
    assert not any("less diverse" in remark for remark in few["remarks"])
    assert any("less diverse than meta-test" in remark for remark in many["remarks"])
