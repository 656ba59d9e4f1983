"""The stored figures of `benchmarks.accuracy` as Markdown."""

from typing import Any

Row = dict[str, Any]
SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
PAPERS = {
    "ProtoNet": ("Snell et al. 2017, inductive", (98.8, 99.7, 96.0, 98.9)),
    "MAML": ("Finn et al. 2017, transductive", (98.7, 99.9, 95.8, 98.9)),
}
"""What the papers report, in the order of `SETTINGS`."""


def full_table(rows: list[Row]) -> str:
    """The learners of the full protocol: four settings each, the best of a column in bold.

    Of the inductive ones and of the transductive ones, which are asked more queries at once.
    """
    mine = [row for row in rows if row["full"]]
    if not mine:
        return "No figures yet: `python -m benchmarks.accuracy` makes them."
    lines = [
        "| | " + " | ".join(f"{way}-way {shot}-shot" for way, shot in SETTINGS) + " | training |",
        "|---|" + "--:|" * 5,
    ]
    best: dict[Any, float] = {}
    for row in mine:
        kind = (setting(row), row["transductive"])
        best[kind] = max(best.get(kind, 0.0), row["accuracy"])
    for name, mode in dict.fromkeys((row["learner"], row["transductive"]) for row in mine):
        own = {setting(r): r for r in mine if (r["learner"], r["transductive"]) == (name, mode)}
        cells = [cell(own.get(at), best.get((at, mode))) for at in SETTINGS]
        lines.append(f"| {title(next(iter(own.values())))} | " + " | ".join(cells) + " | "
                     f"{training(next(iter(own.values())))} |")  # fmt: skip
        if name in PAPERS and mode == PAPERS[name][0].endswith("transductive"):
            source, figures = PAPERS[name]
            lines.append(f"| *{source}* | " + " | ".join(f"*{f}*" for f in figures) + " | |")
    control = [cell(control_of(mine, at)) for at in SETTINGS]
    lines.append("| raw pixels, nearest mean: nothing learned | " + " | ".join(control) + " | – |")
    return "\n".join(lines) + "\n\n" + protocol(mine)


def budget_table(rows: list[Row]) -> str:
    """The other learners, ten minutes each, best first."""
    mine = [row for row in rows if not row["full"]]
    if not mine:
        return "No figures yet: `python -m benchmarks.accuracy` makes them."
    lines = ["| | 5-way 1-shot | ECE | training |", "|---|--:|--:|--:|"]
    lines += [
        f"| {title(row)} | {cell(row)} | {100 * row['ece']:.1f} | {training(row)} |"
        for row in sorted(mine, key=lambda row: -row["accuracy"])
    ]
    lines.append(f"| raw pixels, nearest mean: nothing learned | "
                 f"{cell(control_of(mine, (5, 1)))} | – | – |")  # fmt: skip
    return "\n".join(lines) + "\n\n" + protocol(mine)


def setting(row: Row) -> tuple[int, int]:
    """Way and shot of a row."""
    return row["way"], row["shot"]


def title(row: Row) -> str:
    """A learner, whose net it reads, and how."""
    net = f" on the net of {row['embedding_of']}" if row["embedding_of"] else ""
    return f"{row['learner']}{net}, {'transductive' if row['transductive'] else 'inductive'}"


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
    threads = " or ".join(sorted({f"{row['threads']}" for row in rows}))
    places_ = " or ".join(sorted({f"{row['device']} of {row['machine']}" for row in rows}))
    tasks = " or ".join(sorted({f"{row['tasks']:,}" for row in rows}))
    seeds = ", ".join(sorted({str(row["seed"]) for row in rows}))
    return (
        f"Accuracy in per cent with 95 % interval over {tasks} meta-test tasks of the 423 classes "
        f"of Vinyals et al. 2016, {queries}; rotations make new classes in meta-train only, "
        f"where Snell et al. turn those of meta-test as well. Seed "
        f"{seeds}. Trained on {threads} thread{'' if threads == '1' else 's'}, {places_}."
    )
