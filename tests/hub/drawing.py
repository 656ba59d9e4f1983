"""Drawing on the page as a hand would, and what tests look at on it."""

import math
import os
import shutil
from pathlib import Path

Stroke = list[tuple[float, float]]
"""Points in 0..1, of a pad."""
BAR: list[Stroke] = [[(0.5, 0.1), (0.5, 0.9)]]
RING: list[Stroke] = [
    [
        (0.5 + 0.32 * math.cos(turn * math.pi / 9), 0.5 + 0.32 * math.sin(turn * math.pi / 9))
        for turn in range(19)
    ]
]
LEVELS: list[Stroke] = [[(0.1, y), (0.9, y)] for y in (0.25, 0.5, 0.75)]


def moved(strokes: list[Stroke], right: float, down: float) -> list[Stroke]:
    """The same a little elsewhere: another example of the same class."""
    return [[(x + right, y + down) for x, y in stroke] for stroke in strokes]


def draw(page, pad, strokes: list[Stroke]) -> None:
    """Draw with the mouse on a pad's canvas."""
    canvas = pad.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
        page.mouse.up()


def card(page, number: int):
    """The card of a class."""
    return page.locator(".card").nth(number)


def teach(page, number: int, name: str, strokes: list[Stroke]) -> None:
    """Name a class, and draw an example of it."""
    card(page, number).get_by_role("textbox").fill(name)
    draw(page, card(page, number).locator(".pad"), strokes)


def keep_shot(page, name: str, folder: Path) -> None:
    """A picture of the page, and a copy where $QUICKSTUDY_SHOTS says."""
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    kept = os.environ.get("QUICKSTUDY_SHOTS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)
