"""`quickstudy learners`: the catalogue in the learners' own words."""

from quickstudy.hub.catalogue import LEARNERS

KEYS = ["name", "family", "paper", "tasks", "meta_learned", "adapt_cost"]


def test_every_learner_says_what_it_is(call):
    said = call("learners", "--json")
    assert said.code == 0, said.err
    rows = said.json
    assert {row["name"] for row in rows} == LEARNERS.keys()
    assert len(rows) == len(LEARNERS)
    for row in rows:
        assert list(row) == KEYS
        assert row["tasks"] in (["classes"], ["values"], ["classes", "values"])
        assert row["tasks"] == list(LEARNERS[row["name"]].tasks)
        for key in KEYS:
            if key != "tasks":
                assert isinstance(row[key], str)
                assert row[key].strip() == row[key] != "", (row["name"], key)


def test_people_read_them_by_family(call):
    rows, said = call("learners", "--json").json, call("learners")
    assert said.code == 0, said.err
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert all(len(line) <= 100 for line in lines)
    places = {line.split()[0]: i for i, line in enumerate(lines) if line.startswith("  ")}
    families = [line for line in lines if line in {row["family"] for row in rows}]
    assert families == sorted({row["family"] for row in rows})  # each once
    for row in rows:
        above = [f for f in families if lines.index(f) < places[row["name"]]]
        assert above[-1] == row["family"]
    assert "quickstudy train --learner NAME --out runs/a" in lines[-1]


def test_train_points_to_the_list(call):
    assert "quickstudy learners" in " ".join(call("train", "--help").out.split())
