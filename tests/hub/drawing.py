"""Drawing on the page as a hand would, and what tests look at on it."""

import base64
import itertools
import json
import math
import os
import re
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


TRANSFER = """(element, [how, files]) => {
  const carried = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const bubbles = { bubbles: true, cancelable: true };
  const event = how === "paste"
    ? new ClipboardEvent("paste", { ...bubbles, clipboardData: carried })
    : new DragEvent("drop", { ...bubbles, dataTransfer: carried });
  element.dispatchEvent(event);
}"""


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


def learned(page, said: str) -> None:
    """Wait until the page says that it has learned."""
    page.locator(".teach .chip.good").filter(has_text=re.compile(said)).wait_for()


def answered(page, name: str) -> None:
    """Wait until the likeliest class is this one."""
    page.locator(".verdict strong").filter(has_text=re.compile(f"^{name}$")).wait_for()


def ask(page, strokes) -> None:
    page.get_by_role("button", name="Clear the question").click() if page.locator(
        ".ask-tools .icon-button:not(:disabled)"
    ).count() else None
    draw(page, page.locator(".ask .pad"), strokes)


def touch(page, pad, strokes: list[Stroke]) -> None:
    """Draw with a finger on a pad's canvas; the page under it stays where it is."""
    canvas = pad.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box, before = canvas.bounding_box(), page.evaluate("scrollY")
    fingers = page.context.new_cdp_session(page)
    for stroke in strokes:
        places = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                  for x, y in stroke]  # fmt: skip
        fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
        for place in places[1:]:
            fingers.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.evaluate("scrollY") == before


def transfer(page, element, how: str, files: list[Path]) -> None:
    """Drop or paste files on an element."""
    given = [(file.name, base64.b64encode(file.read_bytes()).decode()) for file in files]
    element.evaluate(TRANSFER, [how, given])


def unfit(folder: Path) -> list[Path]:
    """A blank picture that no model takes, and two files that no browser reads."""
    from PIL import Image

    blank, text, empty = (folder / f"{name}.png" for name in ("blank", "text", "empty"))
    Image.new("L", (40, 40), 255).save(blank)
    text.write_text("no picture")
    empty.touch()
    return [blank, text, empty]


def described(page, element) -> str:
    """What screen readers add to an element's name."""
    return page.locator("#" + element.get_attribute("aria-describedby")).text_content()


def focused(page) -> str:
    """What has the focus, and that it cannot be seen."""
    return page.evaluate(
        "() => { const e = document.activeElement;"
        " const seen = getComputedStyle(e).outlineStyle !== 'none';"
        " return (e.getAttribute('aria-label') ?? e.textContent) + (seen ? '' : ' UNSEEN'); }"
    )


def guarded(key: str):
    """Lets requests with this key through, and answers all others as a server does."""
    detail = "this key is not known, or no longer: Authorization: Bearer qs_..."
    problem = {"type": "about:blank", "title": "Unauthorized", "status": 401,
               "detail": detail, "instance": "/"}  # fmt: skip

    def answer(route) -> None:
        if route.request.headers.get("authorization") == f"Bearer {key}":
            route.continue_()
        else:
            route.fulfill(status=401, json=problem, content_type="application/problem+json")

    return answer


def refusing(refusals: list[tuple[int, str]]):
    """Answers with these, the first of them first."""

    def answer(route) -> None:
        status, detail = refusals.pop(0)
        route.fulfill(status=status, json={"detail": detail})

    return answer


def stuttering():
    """Answers for a run whose stream ends early, one step after the other; or not at all."""
    times = itertools.count(1)

    def answer(route) -> None:
        step = next(times)
        if step == 2:
            route.fulfill(status=503, json={"detail": "the store does not answer; come again"})
            return
        point = {"step": step, "loss": 1.5, "validation": 0.25}
        curve = {"points": [point], "metric": "squared_error", "state": "running"}
        route.fulfill(body=f"data: {json.dumps(curve)}\n\n", content_type="text/event-stream")

    return answer


def keep_shot(page, name: str, folder: Path) -> None:
    """A picture of the page, and a copy where $QUICKSTUDY_SHOTS says."""
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    kept = os.environ.get("QUICKSTUDY_SHOTS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)


def step_of(chart) -> int:
    """The step that a chart of the run "live" has come to."""
    return int(re.search(r"live: .* at step (\d+)", chart.get_attribute("aria-label"))[1])


def check(page, where: str) -> None:
    """Nothing that axe finds matters much."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    bad = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, f"{where}: {bad}"
