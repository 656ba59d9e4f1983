"""Tables as data: opened, trained on, judged on, resumed, adapted to and predicted, for real."""

import json
import shutil

import numpy as np
import pytest
import torch

import quickstudy as qs
from hub.shops import SHOPS, SMALL, edited, flowers, shops
from quickstudy.errors import DataError, RunError
from quickstudy.hub.source import Wanted
from quickstudy.hub.sources import open_source
from quickstudy.hub.tables import Rows, rows_of


@pytest.fixture(autouse=True)
def frames(need):
    need.package("pyarrow")
    return need.package("pandas")


@pytest.fixture
def sales(tmp_path):
    path = tmp_path / "sales.csv"
    shops().to_csv(path, index=False)
    return path


def test_a_table_is_split_by_group(sales):
    source = open_source(str(sales), Wanted(group="shop", targets=("sold",)))
    assert isinstance(source, Rows)
    assert (source.input_shape, source.outputs) == ((3,), 1)
    sizes = {part: pool.classes for part, pool in source.pools.items()}
    assert sizes == {"all": 20, "train": 14, "validation": 3, "test": 3}
    task = source.tasks("train", 5, 2, 4).sample(3, torch.Generator().manual_seed(0))
    assert task.query.y.shape == (3, 4, 1)
    assert task.support.x.dtype == torch.float32
    assert source.validation_tasks(5, 6, 9).queries == 2, "no more than the smallest group has"
    facts = source.facts()
    assert facts["features"] == ["price", "size", "returned"]
    assert facts["train"] == {"groups": 14, "rows": 112, "rows_a_group": [8, 8]}


@pytest.mark.parametrize(("kinds", "ways"), [(8, 2), (11, 3), (14, 4)])
def test_meta_train_is_contrasted_in_tasks_of_the_same_sizes(kinds, ways, tmp_path):
    frame, path = flowers(kinds, each=9), tmp_path / "flowers.csv"
    frame.to_csv(path, index=False)
    source = open_source(str(path), Wanted(targets=("species",)))
    few = source.pools["validation"]
    assert few.classes == ways < source.pools["train"].classes
    gone = frame.index[frame["species"] == few.names[0]][:3]
    frame.drop(gone).to_csv(path, index=False)  # one with six rows
    source = open_source(str(path), Wanted(targets=("species",)))
    tasks = source.validation_tasks(5, 2, 15), source.contrast_tasks(5, 2, 15)
    assert {(t.way, t.shot, t.queries) for t in tasks} == {((ways, ways), (2, 2), 4)}


def test_groups_are_contrasted_with_as_many_rows(tmp_path):
    frame, path = shops(rows=9), tmp_path / "a.csv"
    frame.to_csv(path, index=False)
    asked = Wanted(group="shop", targets=("sold",))
    names = {s: p.names for s, p in open_source(str(path), asked).pools.items()}
    for split in ("validation", "train"):
        small = frame.index[frame["shop"] == int(names[split][0])][:4]
        frame.drop(small).to_csv(path, index=False)
        source = open_source(str(path), asked)
        tasks = source.validation_tasks(5, 2, 15), source.contrast_tasks(5, 2, 15)
        assert [t.queries for t in tasks] == [3, 3]


def test_classes_that_are_left_out_are_not_counted_on(tmp_path):
    frame, path = flowers(14, each=9), tmp_path / "flowers.csv"
    frame.to_csv(path, index=False)
    asked = Wanted(targets=("species",), leave_out_small=True)
    names = open_source(str(path), asked).pools["validation"].names
    for rows, name in enumerate(names[:2]):  # of four classes one has one row, one has two
        gone = frame.index[frame["species"] == name][rows + 1 :]
        frame = frame.drop(gone)
    frame.to_csv(path, index=False)
    source = open_source(str(path), asked)
    tasks = source.validation_tasks(5, 2, 15), source.contrast_tasks(5, 2, 15)
    assert {(t.way, t.queries) for t in tasks} == {((2, 2), 7)}


def test_a_newer_table_is_read_with_the_columns_and_split_of_a_model():
    whole = qs.table(shops(), ["sold"], "shop", ["price", "size"])
    first = rows_of("then", whole, Wanted())
    kept = first.kept()
    newer = qs.table(shops(25, seed=5), ["sold"], "shop", ["returned", "size", "price"])
    asked = Wanted(kept=kept, preprocessing=first.preprocessing)
    again = rows_of("now", newer, asked)
    assert again.preprocessing == first.preprocessing
    assert again.preprocessing != rows_of("now", newer, Wanted()).preprocessing
    names = {split: set(pool.names) for split, pool in again.pools.items()}
    new = set(map(str, range(20, 25)))
    assert names == {
        "train": set(kept.train), "validation": set(kept.validation), "test": {*kept.test, *new},
    }  # fmt: skip
    held = qs.table(shops(25, seed=5), ["sold"], "shop", ["price", "size"])
    raw = held.select([name in kept.train for name in held.pool.names]).pool.images
    assert torch.equal(
        again.tasks("train", 5, 3, 3).pool.images, kept.preprocessing.standardised(raw)
    )
    assert again.kept().train == kept.train
    others = rows_of("elsewhere", qs.table(shops(4, first=30), ["sold"], "shop"), asked)
    assert "all" in others.pools
    assert others.preprocessing == first.preprocessing
    with pytest.raises(DataError, match="no column 'size'; the table has price, sold"):
        rows_of("less", qs.table(shops(), ["sold"], "shop", ["price"]), asked)


def test_data_show(sales, call):
    said = call("data", "show", sales, "--group", "shop", "--targets", "sold", "--json").json
    assert said["test"] == {"groups": 3, "rows": 24, "rows_a_group": [8, 8]}
    lines = call("data", "show", sales, *SHOPS, "--features", "price").out.splitlines()
    assert "features       ['price']" in lines
    assert "train          14 groups, 112 rows, 8 a group" in lines
    flowers().to_csv(sales, index=False)
    lines = call("data", "show", sales, "--targets", "species").out.splitlines()
    assert "test           4 classes, 24 rows, 6 a class" in lines


def test_train_and_evaluate_on_groups(sales_run, call):
    manifest = json.loads((sales_run / "manifest.json").read_text())
    columns = manifest["preprocessing"]
    assert columns["features"] == ["price", "size"]
    assert columns["targets"] == ["sold", "returned"]
    assert manifest["input_shape"] == [2]
    kept = manifest["training"]["kept"]
    assert [len(kept[part]) for part in ("train", "validation", "test")] == [14, 3, 3]
    frame = shops()
    trained = frame[frame["shop"].astype(str).isin(kept["train"])]
    np.testing.assert_allclose(
        columns["means"], trained[["price", "size", "sold", "returned"]].mean(), rtol=1e-9
    )
    report = json.loads((sales_run / "report.json").read_text())
    assert report["control"]["name"] == "SupportMean"
    assert report["validation"]["metric"] == report["control"]["metric"] == "squared_error"

    said = call("evaluate", sales_run, "--shots", 3, "--tasks", 10, "--json").json
    assert said["split"] == "test"
    assert said["control"]["name"] == "SupportMean"
    assert said["units"] == "standard deviations of meta-train"
    squared = [(said["rmse"][name] / columns["deviations"][2 + i]) ** 2
               for i, name in enumerate(["sold", "returned"])]  # fmt: skip
    assert np.mean(squared) == pytest.approx(said["squared_error"], rel=1e-4)
    shown = call("evaluate", sales_run, "--shots", "2,3", "--tasks", 4)
    assert "SupportMean (control)" in shown.out
    one = call("evaluate", sales_run, "--shots", 3, "--tasks", 4).out
    assert "3-shot on" in one
    assert "-way" not in one
    assert "root mean squared error  sold " in one


def test_groups_of_the_run_stay_in_their_part(sales_run, tmp_path, call):
    """In another file too; those that it never saw are meta-test."""
    kept = json.loads((sales_run / "manifest.json").read_text())["training"]["kept"]
    shops(25).to_csv(tmp_path / "next_year.csv", index=False)
    said = call("evaluate", sales_run, "--data", tmp_path / "next_year.csv", "--tasks", 2, "--json")
    assert said.json["split"] == "test"
    source = qs.hub.subjects.open_for(
        qs.hub.subjects.open_subject(sales_run).manifest, sales_run, str(tmp_path / "next_year.csv")
    )
    names = {part: set(pool.names) for part, pool in source.pools.items()}
    assert names["train"] == set(kept["train"])
    assert names["test"] == {*kept["test"], *map(str, range(20, 25))}
    shops(4, first=30).to_csv(tmp_path / "others.csv", index=False)
    said = call("evaluate", sales_run, "--data", tmp_path / "others.csv", "--tasks", 2, "--json")
    assert said.json["split"] == "all"
    known = shops()
    known[known["shop"].astype(str).isin(kept["train"])].to_csv(tmp_path / "old.csv", index=False)
    said = call("evaluate", sales_run, "--data", tmp_path / "old.csv", "--tasks", 2)
    assert (said.code, "holds no group that the model" in said.err) == (2, True)


def test_a_run_goes_on_with_its_split_and_statistics(sales, tmp_path, call, monkeypatch):
    make = ["train", "--data", sales.name, *SHOPS, "--learner", "maml", "--queries", 3, *SMALL]
    monkeypatch.chdir(tmp_path)
    assert call(*make, "--out", "whole").code == 0
    assert call(*make, "--out", "stopped").code == 0
    for name in ("report.json", "manifest.json"):
        (tmp_path / "stopped" / name).unlink()
    more = shops(25, seed=3)
    more[more["shop"] >= 20].to_csv(sales, mode="a", header=False, index=False)
    monkeypatch.chdir(tmp_path.parent)  # and from anywhere
    assert call("resume", tmp_path / "stopped").code == 0
    whole, again = (
        json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("whole", "stopped")
    )
    assert again["preprocessing"] == whole["preprocessing"]
    assert again["training"]["kept"] == whole["training"]["kept"]
    assert again["weights"]["sha256"] == whole["weights"]["sha256"]
    for name in ("report.json", "manifest.json"):
        (tmp_path / "stopped" / name).unlink()
    shops(5).to_csv(sales, index=False)
    said = call("resume", tmp_path / "stopped")
    assert (said.code, "no longer holds meta-train groups of the run" in said.err) == (2, True)


WRONG = {
    "name the columns to predict with --targets A,B": lambda f: [edited(f / "a.csv")],
    "target 'sold' holds numbers, so a group column": lambda f: [
        edited(f / "a.csv"), "--targets", "sold"],
    "no group 'shops'; did you mean 'shop'?": lambda f: [
        edited(f / "a.csv"), "--targets", "sold", "--group", "shops"],
    "--targets must be names of columns such as price,size, got 'a,,b'": lambda f: [
        edited(f / "a.csv"), "--targets", "a,,b"],
    "must have no missing values, got 1 in 'price' (the first in row 3) of 160 rows": lambda f: [
        edited(f / "a.csv", price=lambda d: d["price"].where(d.index != 3)), *SHOPS],
    "feature 'note' must be numbers, got the text 'x' in row 0": lambda f: [
        edited(f / "a.csv"), *SHOPS, "--features", "price,note"],
    "feature 'price' is 1 in all 112 rows of meta-train": lambda f: [
        edited(f / "a.csv", price=1), *SHOPS],
    "target 'returned' is 0 in all 112 rows": lambda f: [
        edited(f / "a.csv", returned=0), *SHOPS],
    "has 2 groups; splitting them into meta-train, meta-validation and meta-test takes at least 3":
        lambda f: [edited(f / "a.csv", shop=lambda d: d["shop"] % 2), *SHOPS],
    "has 3 classes; splitting them": lambda f: [
        edited(f / "a.csv", note=lambda d: "kind " + (d["shop"] % 3).astype(str)),
        "--targets", "note", "--learner", "protonet"],
    "meta-train (14 groups): 5 shots + 4 queries need 9 rows, group '2' has 8 (14 groups": lambda f:
        [edited(f / "a.csv"), *SHOPS, "--shots", "5", "--queries", "4"],
    "need 7 rows, group '99' has 1; --leave-out-small does without such groups": lambda f: [
        edited(f / "a.csv", shop=lambda d: d["shop"].mask(d.index == 20, 99)), *SHOPS,
        "--shots", "4", "--queries", "3"],
    "--size is for folders of images": lambda f: [edited(f / "a.csv"), *SHOPS, "--size", "20"],
    "no images, so it takes no --rotations": lambda f: [edited(f / "a.csv"), *SHOPS, "--rotations"],
    "no such table": lambda f: [f / "b.csv", *SHOPS],
    "cannot be read as a table": lambda f: [f / "c.parquet", *SHOPS],
    "ProtoNet learns classes": lambda f: [edited(f / "a.csv"), *SHOPS, "--learner", "protonet"],
    "--group is for tables (.csv, .parquet, .pq); blobs is none": lambda f: [
        "blobs", "--group", "x", "--learner", "protonet"],
    "--targets is for tables": lambda f: ["sinusoids", "--targets", "x"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_bad_input_is_one_line_and_leaves_nothing(message, tmp_path, call):
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    given = WRONG[message](tmp_path)
    learner = [] if "--learner" in given else ["--learner", "maml"]
    said = call("train", "--data", *given, *learner, *SMALL, "--out", tmp_path / "run")
    assert said.code == 2
    assert message in said.err
    assert said.err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_small_groups_are_left_out_where_that_is_said(tmp_path, call):
    path = edited(tmp_path / "a.csv", shop=lambda d: d["shop"].mask(d.index == 20, 99))
    said = call("train", "--data", path, *SHOPS, "--learner", "maml", "--shots", "4", "--queries",
                "3", "--leave-out-small", *SMALL, "--out", tmp_path / "run")  # fmt: skip
    assert said.code == 0, said.err
    judge = ["evaluate", tmp_path / "run", "--shots", "4", "--tasks", "2", "--split", "train"]
    assert call(*judge, "--queries", "3").code == 0, "the run said so once"
    assert "(15 groups have too few)" in call(*judge, "--queries", "5").err


def test_models_and_data_that_do_not_fit(sales_run, trained, photos, sales, tmp_path, call):
    def refused(*arguments):
        said = call(*arguments)
        assert said.code == 2
        assert len(said.err.splitlines()) == 1
        return said.err

    assert "was not trained on a table, so" in refused("evaluate", trained, "--data", sales)
    assert "was trained on a table, and" in refused("evaluate", sales_run, "--data", photos)
    assert "was trained on a table, and blobs" in refused("evaluate", sales_run, "--data", "blobs")
    state = tmp_path / "x"
    adapt = ["adapt", sales_run, "--out", state, "--support"]
    assert "was trained on a table; " in refused(*adapt, photos)
    assert "must hold rows of one 'shop', as each is a task of its own, got 20" in refused(
        *adapt, sales
    )
    assert "knows its columns, so it takes no --targets; its own are sold, returned" in refused(
        *adapt, sales, "--targets", "sold"
    )
    assert "was trained on images, so it reads no tables" in refused(
        "adapt", trained, "--out", state, "--support", sales
    )
    assert "--targets and --features are for tables" in refused(
        "adapt", trained, "--out", state, "--support", photos, "--targets", "a"
    )
    shop = shops(1)
    shop["shop"].where(shop.index != 2).to_frame().join(shop.drop(columns="shop")).to_csv(
        tmp_path / "gap.csv", index=False
    )
    assert "got 1 in 'shop' (the first in row 2)" in refused(*adapt, tmp_path / "gap.csv")
    shop.drop(columns="returned").to_csv(tmp_path / "less.csv", index=False)
    assert "no target 'returned'; columns: shop" in refused(*adapt, tmp_path / "less.csv")
    shop.to_csv(tmp_path / "good.csv", index=False)
    assert call(*adapt, tmp_path / "good.csv").code == 0
    shop.drop(columns="price").to_csv(tmp_path / "rows.csv", index=False)
    assert "no feature 'price'; columns: shop, size" in refused(
        "predict", state, tmp_path / "rows.csv"
    )
    assert "a table must be a file .csv" in refused("predict", state, photos / "class00" / "0.png")


def test_a_table_that_has_gone(sales_run, tmp_path, call):
    run = tmp_path / "run"
    shutil.copytree(sales_run, run)
    manifest = (run / "manifest.json").read_text()
    assert "sales.parquet" in manifest
    shops(4, first=60).to_csv(tmp_path / "other.csv", index=False)
    assert call("evaluate", run, "--data", tmp_path / "other.csv", "--tasks", 2).code == 0


def test_what_a_source_refuses(sales):
    source = open_source(str(sales), Wanted(group="shop", targets=("sold",)))
    with pytest.raises(DataError, match=r"8 shots \+ 1 query need 9 rows"):
        source.tasks("test", 5, 8, 1)
    few = open_source(str(edited(sales, shop=0)), Wanted(group="shop", targets=("sold",)))
    with pytest.raises(DataError, match="has 1 groups; splitting them"):
        few.tasks("train", 5, 1, 1)
    assert few.kept() is None
    with pytest.raises(RunError, match="was trained on images, so it does not read the table"):
        open_source(str(sales), Wanted(preprocessing=qs.data.Preprocessing(size=20)))


def test_movielens(need, tmp_path, call):
    path = need.data("movielens_latest_small_ratings.parquet")
    said = call("train", "--data", path, "--group", "userId", "--features", "movieId,timestamp",
                "--targets", "rating", "--learner", "maml", "--shots", "10", "--queries", "5",
                *SMALL, "--out", tmp_path / "run")  # fmt: skip
    assert said.code == 0, said.err
    judged = call("evaluate", tmp_path / "run", "--shots", 10, "--tasks", 10, "--json").json
    assert 0.2 < judged["rmse"]["rating"] < 5
