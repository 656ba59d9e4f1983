"""The tables of accuracy stand on runs of the recipes, and what is judged is not judged again."""

import json

import pytest
from benchmarks import accuracy
from benchmarks.accuracy_protocols import SETTINGS
from benchmarks.accuracy_table import TABLES, full_table

QUICK = {
    "ways": 3, "queries": 2, "steps": 2, "validation_tasks": 4, "validation_ways": 3, "threads": 1,
    "backbone_options": {"width": 4, "halvings": 4}, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def quick(need, tmp_path, monkeypatch):
    """Runs and figures in a folder of their own, of nets of no size."""
    need.data("omniglot_28.npz")
    need.data("grocery_81_jpeg84.npz")
    page = tmp_path / "page.md"
    marks = [f"<!-- {name} -->\nyesterday\n<!-- end -->" for name in TABLES]
    page.write_text("\n\n".join(["before", *marks, "after"]))
    monkeypatch.setattr(accuracy, "BESIDE", QUICK)
    monkeypatch.setattr(accuracy, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(accuracy, "RESULTS", tmp_path / "accuracy.json")
    monkeypatch.setattr(accuracy, "PAGES", {page: tuple(TABLES)})
    return tmp_path


def make(monkeypatch, *names):
    monkeypatch.setattr(
        "sys.argv", ["accuracy", "--tasks", "3", "--threads", "1", "--learners", *names]
    )
    accuracy.main()


def test_what_is_there_is_taken_and_the_pages_say_it(quick, monkeypatch):
    make(monkeypatch, "MAML", "PTMAP", "MatchingNet")
    rows = json.loads((quick / "accuracy.json").read_text())
    assert [(r["learner"], r["way"], r["shot"], r["transductive"]) for r in rows] == [
        *(("MAML", w, s, t) for w, s in SETTINGS for t in (False, True)),
        *(("PTMAP", w, s, True) for w, s in SETTINGS),
        *[("PTMAP", 5, 1, True)] * 4,
        *[("PTMAP", 5, 5, True)] * 4,
        ("MatchingNet", 5, 1, False),
        *(("MAML", w, s, t) for w, s in ((5, 1), (5, 5)) for t in (False, True)),
    ]
    assert [r["protocol"] for r in rows] == [
        *["omniglot full"] * 12, *["omniglot unbalanced"] * 8, "omniglot budget", *["grocery"] * 4
    ]  # fmt: skip
    assert [(r["dirichlet"], r["variant"], r["queries"]) for r in rows[12:16]] == [
        (1e6, "", 5), (1e6, "balance 0", 5), (2.0, "", 5), (2.0, "balance 0", 5)
    ]  # fmt: skip
    assert [r["trained"] for r in rows[:2]] == [{}, {"transductive": True}]
    assert len({r["run_id"] for r in rows[:8]}) == 2, "one of MAML's rows is trained otherwise"
    assert len({r["run_id"] for r in rows[8:20]}) == 1, "one net is read by both tables"
    assert {(r["inner_steps"], r["inner_rate"]) for r in rows[:8]} == {(10, 0.01)}
    assert {(r["inner_steps"], r["inner_rate"]) for r in rows[8:]} == {(None, None)}
    assert {r["embedding_of"] for r in rows if r["learner"] == "PTMAP"} == {"ProtoNet"}
    page = (quick / "page.md").read_text()
    assert page.startswith("before")
    assert page.endswith("after")
    assert "yesterday" not in page
    for name, table in TABLES.items():
        assert table([row for row in rows if row["protocol"] == name]) in page
    # Nothing is trained or judged twice, unless its run has changed.
    monkeypatch.setattr(accuracy, "figures", lambda *_: pytest.fail("judged again"))
    make(monkeypatch, "MAML", "PTMAP", "MatchingNet")
    assert json.loads((quick / "accuracy.json").read_text()) == rows
    monkeypatch.setattr(accuracy, "BESIDE", {**QUICK, "steps": 3})
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        make(monkeypatch, "MatchingNet")


def test_what_is_judged_by_other_queries_is_judged_anew(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text("{}")
    judged = []
    monkeypatch.setattr(accuracy, "train", lambda *_: tmp_path)
    monkeypatch.setattr(
        accuracy,
        "figures",
        lambda _, key, __: judged.append(key["queries"]) or {"accuracy": 1.0, "interval95": 0.0},
    )
    rows = accuracy.judge("omniglot budget", "DKT", 0, 10, None, [])
    assert accuracy.judge("omniglot budget", "DKT", 0, 10, None, rows) == rows
    monkeypatch.setattr(accuracy, "QUERIES", {False: 7, True: 7})
    assert accuracy.judge("omniglot budget", "DKT", 0, 10, None, rows)[0]["queries"] == 7
    assert judged == [5, 7]


def test_a_learner_has_a_row_for_each_way_to_judge_it(quick, monkeypatch):
    monkeypatch.setattr(accuracy, "BESIDE", {**QUICK, "unlabelled": 1})
    make(monkeypatch, "SoftKMeans")
    rows = json.loads((quick / "accuracy.json").read_text())
    assert [row["unlabelled"] for row in rows] == [5, 0]
    page = (quick / "page.md").read_text()
    assert "| SoftKMeans, 5 unlabelled a class at meta-test, inductive |" in page
    assert "| SoftKMeans, none at meta-test, inductive |" in page


def test_a_row_that_says_what_was_not_judged_is_no_row(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "report.json").write_text("{}")
    monkeypatch.setattr(accuracy, "train", lambda *_: tmp_path)
    judged = {"transductive": False, "queries": 15, "dirichlet": None}
    monkeypatch.setattr("quickstudy.hub.evaluating.evaluate_run", lambda *_, **__: judged)
    with pytest.raises(SystemExit, match=r"was judged as .*False"):
        accuracy.judge("omniglot full", "PTMAP", 0, 10, None, [])


def test_the_best_of_a_column_is_bold_and_papers_stand_beside():
    def row(name, mode, accuracy, way=5, shot=1, **more):
        return {
            "learner": name, "way": way, "shot": shot, "transductive": mode, "accuracy": accuracy,
            "interval95": 0.002, "ece": 0.01, "queries": 15 if mode else 5, "tasks": 1000,
            "seed": 0,
            "control": {"accuracy": 0.42, "interval95": 0.01}, "embedding_of": None,
            "protocol": "omniglot full", "inner_steps": 10 if mode else None, "inner_rate": 0.01,
            "training_s": 600.0, "threads": 1, "device": "cpu", "machine": "2 cores, x86_64",
            "run_id": len(name) + mode, "variant": "", "told": {}, "trained": {},
            "dirichlet": None, **more,
        }  # fmt: skip

    rows = [row("ProtoNet", False, 0.98), row("MAML", True, 0.99, 20, 5)]
    switched = "row of MAML batch norms take the queries in at meta-test alone"
    assert switched not in full_table(rows), "no learner was told so"
    told = {"transductive": True}
    assert switched in full_table([*rows, row("MAML", True, 0.9, 20, 5, told=told)])
    trained = full_table([*rows, row("MAML", True, 0.9, 20, 5, trained=told)])
    assert switched not in trained
    assert "transductive row of MAML batch norms take the queries in at meta-test and" in trained
    plain = row("ProtoNet", False, 0.97, variant="plain")
    text = full_table([rows[0], plain, rows[1]])
    assert text.index("ProtoNet, ind") < text.index("ProtoNet, plain, ind") < text.index("Snell")
    assert "| ProtoNet, plain, inductive | 97.00 ± 0.20 | – | as above |" in text
    text = full_table(rows)
    assert "| ProtoNet, inductive | **98.00 ± 0.20** | – | 10 min |" in text
    assert "| MAML, transductive | – | **99.00 ± 0.20** | 10 min |" in text
    assert text.index("ProtoNet, ind") < text.index("Snell et al. 2017") < text.index("Finn et al.")
    assert "nothing learned | 42.00 ± 1.00 | 42.00 ± 1.00 |" in text
    assert "Judged with inner steps of its own: MAML with 10 at a rate of 0.01." in text
    assert "5 queries a class inductive and 15 queries a class transductive" in text
