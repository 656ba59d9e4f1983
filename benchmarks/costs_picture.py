"""Pictures and tables of what steps cost, from what benchmarks.costs stored."""

from pathlib import Path
from typing import Any

from benchmarks.pages import machine_of
from quickstudy.plots.canvas import BLUE, INK, ORANGE, sheet, subtitle

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
IMAGES = PAGE.parent / "images"
TIME, MEMORY = IMAGES / "costs_time.png", IMAGES / "costs_memory.png"
CALLED = {"tasks": "tasks a step", "steps": "inner steps", "ways": "ways", "width": "filters"}
MARKS = {"MAML": (BLUE, "o"), "ProtoNet": (ORANGE, "s")}

Found = dict[str, Any]


def draw(found: Found, quantity: str, path: Path) -> None:
    """Four panels, one for each number that changes; `quantity` is "ms" or "peak_mb"."""
    time = quantity == "ms"
    with sheet(path, 7.2, 5.6) as figure:
        figure.set_layout_engine("constrained", rect=(0, 0.05, 1, 0.95))
        panels = figure.subplots(2, 2).flatten()
        for axes, (along, rows) in zip(panels, found["curves"].items(), strict=True):
            for name, (colour, marker) in MARKS.items():
                mine = [row for row in rows if row["learner"] == name]
                if mine:
                    _line(axes, mine, quantity, name, colour, marker)
            axes.set_title(CALLED[along])
            axes.set_xticks([row["at"] for row in rows if row["learner"] == "MAML"])
            axes.set_ylim(0, 1.08 * max(row[quantity] for row in rows))
            axes.set_ylabel("milliseconds" if time else "megabytes")
            others = {k: v for k, v in found["base"].items() if k != along}
            subtitle(axes, ", ".join(_said(k, v) for k, v in others.items()))
        # Of the first panel, in which both learners are.
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8.5,
                      labelcolor=INK)  # fmt: skip


def _line(axes: Any, rows: list[Found], quantity: str, name: str, colour: str, marker: str) -> None:
    at = [row["at"] for row in rows]
    axes.plot(at, [row[quantity] for row in rows], color=colour, marker=marker, markersize=4,
              linewidth=1.8, label=name)  # fmt: skip
    if quantity == "ms":
        axes.plot(at, [row["floor_ms"] for row in rows], color=colour, marker=marker, markersize=3,
                  markerfacecolor="white", linewidth=1.2, linestyle=(0, (4, 2)),
                  label=f"{name}, arithmetic alone")  # fmt: skip


def _said(name: str, value: int) -> str:
    words = {"tasks": "task", "steps": "inner step", "ways": "way", "width": "filter"}
    return f"{value} {words[name]}{'' if value == 1 else 's'}"


def tables(found: Found) -> dict[str, str]:
    """The tables of docs/performance.md by their markers."""
    return {"costs": curves_table(found), "choices": choices_table(found)}


def curves_table(found: Found) -> str:
    lines = [
        "| | MAML | arithmetic alone | peak | ProtoNet | arithmetic alone | peak |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for along, rows in found["curves"].items():
        by_place = {(row["learner"], row["at"]): row for row in rows}
        for value in dict.fromkeys(row["at"] for row in rows):
            cells = _cells(by_place.get(("MAML", value))) + _cells(
                by_place.get(("ProtoNet", value))
            )
            lines.append(f"| {CALLED[along]}: {value} | " + " | ".join(cells) + " |")
    base, speed = found["base"], found["gflop_per_second"]
    return "\n".join(lines) + (
        f"\n\nMilliseconds a step, median of {found['repeats']} (the file holds the spreads), and "
        f"the most megabytes of tensors alive at once. What a row does not name is "
        f"{', '.join(_said(k, v) for k, v in base.items())}; {found['shots']} shot, "
        f"{found['queries']} queries a class, {found['side']}x{found['side']} images, Conv4 with "
        f"pooling. This machine multiplied large matrices at {speed['matmul']:.0f} and convolved "
        f"at {speed['convolution']:.0f} GFLOP/s at most. {_threads(found)} of "
        f"{machine_of(found)}"
    )


def _cells(row: Found | None) -> list[str]:
    if row is None:
        return ["–"] * 3
    return [f"{row['ms']:.1f}", f"{row['floor_ms']:.1f}", f"{row['peak_mb']:.0f} MB"]


def choices_table(found: Found) -> str:
    lines = ["| | a task | peak |", "|---|--:|--:|"]
    lines += [
        f"| {row['name']} | {row['ms_per_task']:.1f} ms | {row['peak_mb']:.0f} MB |"
        for row in found["choices"]
    ]
    return "\n".join(lines) + (
        f"\n\n{found['choice_tasks']} tasks a step, one after the other unless it says together; "
        f"the rest as above. {_threads(found)} of {machine_of(found)}"
    )


def _threads(found: Found) -> str:
    return f"{found['threads']} thread{'' if found['threads'] == 1 else 's'}"
