"""The stored figures of `benchmarks.accuracy` as Markdown."""

from itertools import groupby
from typing import Any

from benchmarks.accuracy_protocols import SETTINGS
from quickstudy.data.unbalanced import ALIKE
from quickstudy.hub.evaluating import CHOSEN_AMONG

Row = dict[str, Any]
NONE_YET = "No figures yet: `python -m benchmarks.accuracy` makes them."
PAPERS: dict[tuple[str, str, bool], tuple[str, tuple[float, ...]]] = {
    ("omniglot full", "ProtoNet", False): (
        "Snell et al. 2017, inductive",
        (98.8, 99.7, 96.0, 98.9),
    ),
    ("omniglot full", "MAML", True): (
        "Finn et al. 2017, transductive",
        (98.7, 99.9, 95.8, 98.9),
    ),
}
"""By protocol, learner and whether transductive, what its paper reports in the `SETTINGS`."""
PLACES = {
    "omniglot": "the 423 classes of Vinyals et al. 2016",
    "grocery": "24 classes of Klasson et al. 2019 (84x84, in colour)",
}
"""What meta-test is of, by the first word of a protocol's name."""


def full_table(rows: list[Row]) -> str:
    """One learner a line and one setting a column, the best of a column in bold.

    Of the inductive ones and of the transductive ones, which are asked more queries at once.
    """
    if not rows:
        return NONE_YET
    settings = sorted({setting(row) for row in rows})
    lines = [
        "| | " + " | ".join(f"{way}-way {shot}-shot" for way, shot in settings) + " | training |",
        "|---|" + "--:|" * (len(settings) + 1),
    ]
    best: dict[Any, float] = {}
    for row in rows:
        kind = (setting(row), row["transductive"])
        best[kind] = max(best.get(kind, 0.0), row["accuracy"])
    made, trained = dict.fromkeys(title(row) for row in rows), set[int]()
    for (paper, mode), titles in groupby(made, key=kinds(rows).__getitem__):
        for name in titles:
            own = {setting(row): row for row in rows if title(row) == name}
            first = next(iter(own.values()))
            cells = " | ".join(cell(own.get(at), best.get((at, mode))) for at in settings)
            again = first["run_id"] in trained and not first["embedding_of"]
            trained.add(first["run_id"])
            lines.append(f"| {name} | {cells} | {'as above' if again else training(first)} |")
        source, figures = PAPERS.get((*paper, mode), ("", ()))
        if source:
            said = dict(zip(SETTINGS, figures, strict=True))
            lines.append(
                f"| *{source}* | " + " | ".join(f"*{said[at]}*" for at in settings) + " | |"
            )
    control = " | ".join(cell(control_of(rows, at)) for at in settings)
    lines.append(f"| raw pixels, nearest mean: nothing learned | {control} | – |")
    bold = " In bold, the best of a column, among the inductive and among the transductive."
    return "\n".join(lines) + "\n\n" + protocol(rows) + bold


def kinds(rows: list[Row]) -> dict[str, tuple[tuple[str, str], bool]]:
    """Of each title, its protocol and learner, and whether it is transductive."""
    return {title(r): ((r["protocol"], r["learner"]), r["transductive"]) for r in rows}


def unbalanced_table(rows: list[Row]) -> str:
    """One learner a line; of each setting, classes of as many queries as the others and not."""
    if not rows:
        return NONE_YET
    columns = sorted({(setting(row), -row["dirichlet"]) for row in rows})
    heads = [
        f"{way}-way {shot}-shot, {'balanced' if alpha == -ALIKE else 'unbalanced'}"
        for (way, shot), alpha in columns
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(columns)]
    for name in dict.fromkeys(title(row) for row in rows):
        own = {(setting(r), -r["dirichlet"]): r for r in rows if title(r) == name}
        lines.append(f"| {name} | " + " | ".join(cell(own.get(at)) for at in columns) + " |")
    controls = {(setting(r), -r["dirichlet"]): r["control"] for r in rows}
    control = " | ".join(cell(controls.get(at)) for at in columns)
    lines.append(f"| raw pixels, nearest mean: nothing learned | {control} |")
    alphas = " or ".join(f"{a:g}" for a in sorted({r["dirichlet"] for r in rows} - {ALIKE}))
    return "\n".join(lines) + (
        f"\n\nAccuracy in per cent with 95 % interval over {several(rows, 'tasks')} meta-test "
        f"tasks of {PLACES['omniglot']}, with {several(rows, 'queries')} queries a class: of each "
        "class, or on average, where the classes' shares are drawn by a Dirichlet distribution of "
        f"concentration {alphas} (Veilleux et al. 2021) and rounded, and no class has more than "
        f"{CHOSEN_AMONG} times as many. The columns' tasks are the same but for that. PTMAP with "
        "balance 0 does not share the queries out in equal numbers, but centres them still; TIM "
        "with marginal 0 expects nothing of the classes' numbers. "
        f"Seed {several(rows, 'seed')}."
    )


def several(rows: list[Row], key: str) -> str:
    """The numbers of that name in the rows."""
    return " or ".join(f"{number:,}" for number in sorted({row[key] for row in rows}))


def budget_table(rows: list[Row]) -> str:
    """One learner a line, best first, with how far off its probabilities are."""
    if not rows:
        return NONE_YET
    way, shot = setting(rows[0])
    lines = [f"| | {way}-way {shot}-shot | ECE | training |", "|---|--:|--:|--:|"]
    lines += [
        f"| {title(row)} | {cell(row)} | {100 * row['ece']:.1f} | {training(row)} |"
        for row in sorted(rows, key=lambda row: -row["accuracy"])
    ]
    control = cell(control_of(rows, (way, shot)))
    lines.append(f"| raw pixels, nearest mean: nothing learned | {control} | – | – |")
    return "\n".join(lines) + "\n\n" + protocol(rows)


TABLES = {
    "omniglot full": full_table,
    "omniglot unbalanced": unbalanced_table,
    "omniglot budget": budget_table,
    "grocery": full_table,
}
"""How the rows of a protocol are shown."""


def setting(row: Row) -> tuple[int, int]:
    """Way and shot of a row."""
    return row["way"], row["shot"]


def title(row: Row) -> str:
    """A learner, whose net it reads, and how."""
    net = f" on the net of {row['embedding_of']}" if row["embedding_of"] else ""
    variant = f", {row['variant']}" if row["variant"] else ""
    mode = "transductive" if row["transductive"] else "inductive"
    return f"{row['learner']}{net}{variant}, {mode}"


def cell(row: Row | None, best: float | None = None) -> str:
    """Accuracy and interval in per cent."""
    if row is None:
        return "–"
    text = f"{100 * row['accuracy']:.2f} ± {100 * row['interval95']:.2f}"
    return f"**{text}**" if row["accuracy"] == best else text


def control_of(rows: list[Row], at: tuple[int, int]) -> Row | None:
    """The control's figures on the inductive tasks of a setting."""
    there = [r["control"] for r in rows if setting(r) == at and not r["transductive"]]
    there += [r["control"] for r in rows if setting(r) == at]
    return there[0] if there else None


def training(row: Row) -> str:
    """How long it was trained; nothing for a method on another's net."""
    return "–" if row["embedding_of"] else f"{row['training_s'] / 60:.0f} min"


def listed(names: list[str]) -> str:
    """Names in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def protocol(rows: list[Row]) -> str:
    """What the figures are of."""
    by_mode = {
        mode: sorted({row["queries"] for row in rows if row["transductive"] is mode})
        for mode in (False, True)
    }
    queries = " and ".join(
        f"{' or '.join(map(str, asked))} queries a class {word}"
        for (_, asked), word in zip(by_mode.items(), ("inductive", "transductive"), strict=True)
        if asked
    )
    threads = several(rows, "threads")
    places_ = " or ".join(sorted({f"{row['device']} of {row['machine']}" for row in rows}))
    tasks, seeds = several(rows, "tasks"), several(rows, "seed")
    data = rows[0]["protocol"].split()[0]
    turned = {
        "omniglot": " Rotations make new classes in meta-train only, where Snell et al. turn those "
        "of meta-test as well."
    }.get(data, "")
    more = ", ".join(
        f"{row['learner']} with {row['inner_steps']} at a rate of {row['inner_rate']}"
        for row in {row["learner"]: row for row in rows}.values()
        if row.get("inner_steps")
    )
    steps = f" Judged with inner steps of its own: {more}." if more else ""
    in_mode = {mode: {r["learner"] for r in rows if r["transductive"] is mode} for mode in by_mode}
    later, always = (
        sorted({row["learner"] for row in rows if row[when].get("transductive")})
        for when in ("told", "trained")
    )
    switched = ""
    if later:
        switched += (
            f" In the transductive row{'s' * (len(later) > 1)} of {listed(later)} batch norms take "
            "the queries in at meta-test alone: meta-training was inductive."
        )
    if always:
        switched += (
            f" In the transductive row of {listed(always)} batch norms take the queries in at "
            "meta-test and in meta-training, which was done anew for it."
        )
    balanced = " Every class has as many queries as the others, which PTMAP and TIM count on."
    balanced = balanced if {"PTMAP", "TIM"} & in_mode[True] else ""
    return (
        f"Accuracy in per cent with 95 % interval over {tasks} meta-test tasks of {PLACES[data]}, "
        f"{queries}.{turned}{steps}{switched}{balanced} Seed {seeds}. Trained on {threads} "
        f"thread{'' if threads == '1' else 's'}, {places_}."
    )
