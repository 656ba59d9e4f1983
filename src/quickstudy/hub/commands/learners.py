"""`quickstudy learners`."""

from typing import Any

from quickstudy.hub.commands.options import Json

WIDEST = 100
"""Columns that the table takes at most."""


def learners(json: Json = False) -> None:
    """List the learners: what each meta-learns, and what adapting to a task costs.

    Examples:
      quickstudy learners
      quickstudy learners --json
      quickstudy train --learner maml --out runs/maml
    """
    from quickstudy.hub import screen

    told = described()
    if json:
        screen.print_json(told)
    else:
        _show(told)


def described() -> list[dict[str, Any]]:
    """Every learner of the catalogue by its class's own words, as JSON; sorted by family."""
    from quickstudy.hub.catalogue import LEARNERS

    found = [
        {
            "name": name,
            "family": cls.family,
            "paper": cls.paper,
            "tasks": list(cls.tasks),
            "meta_learned": cls.meta_learned,
            "adapt_cost": cls.adapt_cost,
        }
        for name, cls in LEARNERS.items()
    ]
    return sorted(found, key=lambda row: (row["family"], row["name"]))


def _show(told: list[dict[str, Any]]) -> None:
    from itertools import groupby

    from rich.markup import escape
    from rich.table import Table

    from quickstudy.hub import screen

    console = screen.out()
    table = Table(box=None, width=min(WIDEST, console.width), padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("learner", no_wrap=True)
    table.add_column("tasks", width=len("classes,"))
    table.add_column("meta-learns", ratio=5)
    table.add_column("adapting costs", ratio=5)
    table.add_column("paper", ratio=4)
    for family, rows in groupby(told, key=lambda row: row["family"]):
        table.add_row()
        table.add_row(f"[bold]{family or 'others'}[/bold]")
        for row in rows:
            paper = row["paper"].partition(",")[0]  # authors and year; the title is in the JSON
            cells = (", ".join(row["tasks"]), row["meta_learned"], row["adapt_cost"], paper)
            table.add_row(f"  {row['name']}", *map(escape, cells))
    console.print(table, soft_wrap=False)
    console.print("\nTrain one: quickstudy train --learner NAME --out runs/a", markup=False)
