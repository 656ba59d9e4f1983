"""Rows of a table as what a stored model adapts to and is asked, for real."""

import numpy as np
import pytest

import quickstudy as qs
from hub.shops import RATE, SHOPS, SMALL, flowers, shops
from quickstudy.hub.catalogue import TRAINABLE


@pytest.fixture(autouse=True)
def frames(need):
    need.package("pyarrow")
    return need.package("pandas")


def test_adapt_and_predict_in_the_tables_units(sales_run, tmp_path, call):
    new, rows, state = tmp_path / "new.csv", tmp_path / "rows.parquet", tmp_path / "s.state"
    shop = shops(1, rows=10, first=50)
    shop[:6].to_csv(new, index=False)
    shop[6:][["size", "note", "price"]].to_parquet(rows)
    said = call("adapt", sales_run, "--support", new, "--out", state, "--json").json
    assert (said["labels"], said["examples"]) == (None, 6)
    answers = call("predict", state, rows, "--json").json
    assert [answer["row"] for answer in answers] == [0, 1, 2, 3]
    assert all(answer["predictions"].keys() == RATE.keys() for answer in answers)
    fitted = qs.FewShotRegressor(sales_run, device="cpu").fit(
        shop[:6][["price", "size"]], shop[:6][["sold", "returned"]]
    )
    expected = fitted.predict(shop[6:])
    found = [list(answer["predictions"].values()) for answer in answers]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(np.mean(found, 0) - [1000, 5])[0] < 500, "the table's units"
    lines = call("predict", state, rows, new).out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith(f"{rows}, row 0: sold ")
    assert ", returned " in lines[0]


def test_a_table_of_classes_from_end_to_end(tmp_path, call):
    path, run, state = tmp_path / "flowers.csv", tmp_path / "run", tmp_path / "s.state"
    flowers().to_csv(path, index=False)
    made = call("train", "--data", path, "--targets", "species", "--ways", 3, "--queries", 2,
                *SMALL, "--steps", 40, "--validation-ways", 2, "--out", run)  # fmt: skip
    assert made.code == 0, made.err
    said = call("evaluate", run, "--ways", 3, "--queries", 2, "--tasks", 40, "--json").json
    assert said["control"]["name"] == "NearestMean"
    assert said["accuracy"] > 0.7
    assert "units" not in said
    frame = flowers(3)
    frame["species"] = ["rose"] * 6 + ["daisy"] * 6 + ["lily"] * 6
    frame[::2].to_csv(tmp_path / "mine.csv", index=False)
    frame[1::2].drop(columns="species").to_csv(tmp_path / "rows.csv", index=False)
    made = call("adapt", run, "--support", tmp_path / "mine.csv", "--out", state, "--json").json
    assert made["labels"] == {"daisy": 3, "lily": 3, "rose": 3}
    answers = call("predict", state, tmp_path / "rows.csv", "--json").json
    assert [answer["label"] for answer in answers] == ["rose"] * 3 + ["daisy"] * 3 + ["lily"] * 3
    assert all(sum(a["probabilities"].values()) == pytest.approx(1, abs=1e-4) for a in answers)
    clf = qs.FewShotClassifier(run, device="cpu").fit(frame[::2], frame[::2]["species"])
    shares = clf.predict_proba(frame[1::2])
    np.testing.assert_allclose(
        [list(a["probabilities"].values()) for a in answers], shares, atol=1e-5
    )
    assert "row 0: rose (" in call("predict", state, tmp_path / "rows.csv").out
    frame[:6].to_csv(tmp_path / "one.csv", index=False)
    said = call("adapt", run, "--support", tmp_path / "one.csv", "--out", tmp_path / "x")
    assert "must hold rows of at least 2 classes, got only 'rose' in 'species'" in said.err


@pytest.mark.parametrize("kind", ["values", "classes"])
def test_models_that_know_no_columns_are_told_them(kind, tmp_path, call):
    if kind == "values":
        learner = qs.MAML(qs.MLP(1, [4], 4), outputs=1, targets="values")
        qs.save(tmp_path / "m", learner, input_shape=(1,))
        held = "t,y\n0.5,1\n1.5,2\n"
    else:
        qs.save(tmp_path / "m", qs.ProtoNet(qs.MLP(1, [4], 4)), input_shape=(1,))
        held = "t,y\n0.5,no\n1.5,yes\n"
    points, rows, state = tmp_path / "p.csv", tmp_path / "r.csv", tmp_path / "s"
    points.write_text(held)
    rows.write_text("t,z\n0.25,3\n0.75,4\n")
    make = ["adapt", tmp_path / "m", "--support", points, "--out", state]
    assert "say which of" in call(*make).err
    assert call(*make, "--targets", "y").code == 0
    answers = call("predict", state, rows, "--json").json
    assert len(answers) == 2
    keys = answers[0]["predictions" if kind == "values" else "probabilities"].keys()
    assert list(keys) == (["y"] if kind == "values" else ["no", "yes"])
    rows.write_text("z,u\n3,0.25\n4,0.75\n")
    lacking = call("predict", state, rows)
    assert (lacking.code, "no feature 't'; columns: z, u" in lacking.err) == (2, True)
    assert call("predict", state, rows, "--features", "u", "--json").json == [
        answer | {"row": number} for number, answer in enumerate(answers)
    ], "a column under another name"
    many = call("predict", state, rows, "--features", "z,u")
    assert (many.code, "takes 1 numbers an input, got the columns z, u" in many.err) == (2, True)


OF_VALUES = [name for name, cls in TRAINABLE.items() if "values" in cls.tasks]


@pytest.mark.parametrize("learner", OF_VALUES)
def test_every_learner_of_values_goes_all_the_way(learner, tmp_path, call):
    path, run, state = tmp_path / "sales.csv", tmp_path / "run", tmp_path / "s.state"
    shops().to_csv(path, index=False)
    made = call("train", "--data", path, *SHOPS, "--learner", learner, "--shots", "3-5",
                "--queries", "3", *SMALL, "--out", run)  # fmt: skip
    assert made.code == 0, made.err
    judged = call("evaluate", run, "--shots", 3, "--tasks", 3, "--json").json
    assert judged["rmse"].keys() == RATE.keys()
    new = shops(1, rows=6, first=50)
    new.to_csv(tmp_path / "new.csv", index=False)
    assert call("adapt", run, "--support", tmp_path / "new.csv", "--out", state).code == 0
    answers = call("predict", state, tmp_path / "new.csv", "--json").json
    regressor = qs.FewShotRegressor(run, device="cpu").fit(new, new[["sold", "returned"]])
    found = [list(answer["predictions"].values()) for answer in answers]
    np.testing.assert_allclose(found, regressor.predict(new), rtol=1e-4)


def test_a_run_on_a_formula_adapts_to_a_table(tmp_path, call):
    run, points, state = tmp_path / "run", tmp_path / "points.csv", tmp_path / "s.state"
    made = call("train", "--data", "sinusoids", "--learner", "maml", "--inner-rate", "0.01", *SMALL,
                "--out", run)  # fmt: skip
    assert made.code == 0, made.err
    points.write_text("x,y\n0.5,1\n1.5,2\n")
    made = call("adapt", run, "--support", points, "--targets", "y", "--out", state)
    assert made.code == 0, made.err
    answers = call("predict", state, points, "--json").json
    assert [set(answer["predictions"]) for answer in answers] == [{"y"}] * 2


def test_what_leads_nowhere_is_refused(tmp_path, call):
    qs.save(tmp_path / "m", qs.MAML(qs.MLP(1, [4], 4), outputs=1, targets="values", steps=50),
            input_shape=(1,))  # fmt: skip
    far, state = tmp_path / "far.csv", tmp_path / "s"
    far.write_text("x,y\n1e6,1e6\n-2e6,3e7\n")
    make = ("adapt", tmp_path / "m", "--support", far, "--out", state, "--targets", "y")
    said = call(*make)
    assert (said.code, "to numbers that are not finite" in said.err) == (2, True)
    assert not state.exists()
    with pytest.raises(qs.DataError, match="to numbers that are not finite"):
        qs.FewShotRegressor(tmp_path / "m").fit([[1e6], [-2e6]], [1e6, 3e7])
    said = call(*make, "--features", "y")
    assert (said.code, "an input or a target, got 'y' as both" in said.err) == (2, True)
    (tmp_path / "latin.csv").write_bytes("x,gr\u00f6\u00dfe\n1,2\n".encode("latin-1"))
    said = call("adapt", tmp_path / "m", "--support", tmp_path / "latin.csv", *make[4:])
    assert (said.code, "must be UTF-8" in said.err) == (2, True)
    (tmp_path / "latin.csv").write_bytes("town,x,y\nK\u00f6ln,1,2\nUlm,3,4\n".encode("latin-1"))
    said = call("data", "show", tmp_path / "latin.csv", "--group", "town", "--targets", "y")
    assert (said.code, "Traceback" in said.err, said.err.count("\n")) == (2, False, 1)
    assert "UTF-8" in said.err
