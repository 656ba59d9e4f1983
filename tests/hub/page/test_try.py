"""Teaching and asking on the page, in a real browser against a real server."""

import re

import pytest

from hub.drawing import (
    BAR,
    LEVELS,
    RING,
    answered,
    ask,
    card,
    described,
    draw,
    focused,
    keep_shot,
    learned,
    moved,
    refusing,
    teach,
    touch,
    transfer,
    unfit,
)

pytestmark = pytest.mark.xdist_group("page")  # one server and one browser for all of them
LEAVING = "(it) => addEventListener('pagehide', () => sessionStorage['quickstudy-lesson'] = it)"
"""Leaves a lesson behind that the page did not write."""


def test_draw_label_adapt_classify_and_add_a_class(visit, tmp_path):
    page = visit("#/try/chars")
    teach(page, 0, "bar", BAR)
    teach(page, 1, "ring", RING)
    learned(page, "Learned 2 classes in")
    for strokes, name in ((moved(BAR, 0.06, 0.0), "bar"), (moved(RING, 0.05, -0.04), "ring")):
        ask(page, strokes)
        answered(page, name)
        assert page.locator(".bars li.best .bar-name").inner_text() == name
        assert page.locator(".near img").get_attribute("alt") == f"an example of {name}"
        page.locator(".ask [role=status]").filter(has_text=f"Most likely {name}").wait_for(
            state="attached"
        )
    extended = []
    page.on("request", lambda r: extended.append(r.url) if r.url.endswith("/extend") else None)
    page.get_by_role("button", name="Add a class").click()
    with page.expect_response(re.compile("/extend$")):
        teach(page, 2, "levels", LEVELS[:1])  # one stroke is one example that is only added
    learned(page, "(Added levels in .*; nothing forgotten)|(Learned 3)")
    assert extended
    for strokes, name in ((LEVELS[:1], "levels"), (BAR, "bar"), (RING, "ring")):
        ask(page, strokes)
        answered(page, name)
    keep_shot(page, "taught", tmp_path)
    page.get_by_role("button", name="Remove levels").click()
    learned(page, "Learned 2 classes")
    answered(page, "ring")
    held = []
    page.route("**/js/models.js", lambda route: held.append(route))
    page.get_by_role("link", name="Models").click()
    page.locator(".views [aria-current]").filter(has_text="Models").wait_for()
    assert page.locator("main[aria-busy=true]").inner_text() == "", "nothing of the view before"
    held[0].continue_()
    page.get_by_role("heading", name="chars").wait_for()
    assert page.locator("main[aria-busy]").count() == 0
    page.goto(page.url.split("#")[0] + "#/try/chars")
    answered_cards = page.locator(".card input.card-name")
    answered_cards.nth(1).wait_for()
    assert [box.input_value() for box in answered_cards.all()] == ["bar", "ring"], "it remembers"


def test_what_has_expired_is_learned_again(visit, address):
    page = visit("#/try/chars", expected=["404", "422", "503"])
    with page.expect_response(re.compile("/adapt$")) as first:
        page.get_by_role("button", name="Start with an example").click()
    learned(page, "Learned 3 classes")
    page.locator(".verdict strong").wait_for()
    held = first.value.json()["adapted_id"]
    page.request.delete(f"{address}/v1/adapted/{held}")
    with page.expect_response(re.compile("/adapt$")) as second:
        ask(page, RING)
    assert second.value.json()["adapted_id"] != held
    answered(page, "ring")
    refusals = [(422, "at most 3 classes are taken, got 4"), (503, "come again")]
    page.route("**/extend", refusing(refusals))
    page.get_by_role("button", name="Add a class").click()
    draw(page, card(page, 3).locator(".pad"), LEVELS[:1])
    trouble = page.locator(".teach .trouble")
    trouble.filter(has_text="got 4").wait_for()
    page.get_by_text("This server takes at most 3 classes.").wait_for()
    assert page.get_by_role("button", name=re.compile("Add a class|Try again")).count() == 0
    card(page, 3).get_by_role("textbox").fill("more")
    trouble.filter(has_text="come again").wait_for()
    page.unroute("**/extend")
    trouble.get_by_role("button", name="Try again").click()
    learned(page, "Added more in")
    for _ in range(2):
        page.locator(".card-head .icon-button").last.click()
    page.get_by_role("button", name="Add a class").wait_for()


def test_what_the_server_refuses_is_left_out_and_said(visit, tmp_path):
    blank, text, empty = unfit(tmp_path)
    page = visit("#/try/chars", expected=["422"])
    sent = []
    teaching = re.compile("/(adapt|extend)$")
    page.on("response", lambda r: sent.append(r.status) if teaching.search(r.url) else None)
    teach(page, 0, "bar", BAR)
    pick = card(page, 1).locator("input[type=file]")
    pick.set_input_files(blank)
    notes = card(page, 1).locator(".card-notes")
    reason = "cannot be used: nothing is drawn on it, it is one colour all over"
    notes.get_by_text(f"Example 1 {reason}. It is left out; remove it.").wait_for()
    page.locator(".chip").filter(has_text="One more class needs an example").wait_for()
    assert "at-fault" in card(page, 1).get_attribute("class")
    thumb = card(page, 1).get_by_role("button", name="Example 1 of class 2")
    assert "refused" in thumb.get_attribute("class")
    assert described(page, thumb) == reason
    card(page, 1).get_by_role("button", name="Draw another example").click()
    teach(page, 1, "bar", RING)
    page.get_by_text("Another class has this name.").first.wait_for()
    card(page, 1).get_by_role("textbox").fill("ring")
    learned(page, "Learned 2 classes")
    pick.set_input_files([blank, text, empty])
    notes.get_by_text(f"Examples 1, 3 {reason}. They are left out; remove them.").wait_for()
    notes.get_by_text("2 of 3 could not be read: text.png, empty.png.").wait_for()
    learned(page, "Learned 2 classes")
    with page.expect_response(teaching):
        card(page, 0).get_by_role("textbox").fill("line")
    ask(page, RING)
    answered(page, "ring")
    assert sent == [422, 201, 422, 201], "nothing is sent again once it was refused"
    notes.get_by_text("2 of 3 could not be read").wait_for()
    assert page.locator(".teach .trouble").count() == 0
    keep_shot(page, "refused", tmp_path)
    spoken = page.locator(".ask [role=status]").filter(has_text="Most likely ring")
    spoken.wait_for(state="attached")
    card(page, 1).get_by_role("button", name="Example 2 of ring").click()
    card(page, 1).get_by_role("button", name="Remove this example").click()
    spoken.wait_for(state="detached")
    assert "could not be read" not in notes.inner_text()
    card(page, 1).get_by_role("button", name="Draw another example").click()
    draw(page, card(page, 1).locator(".pad"), RING)
    learned(page, "Learned 2 classes")
    page.locator(".ask input[type=file]").set_input_files(text)
    page.locator(".ask .trouble").filter(has_text="text.png is no picture").wait_for()
    page.locator(".ask input[type=file]").set_input_files(blank)
    page.locator(".ask .trouble").filter(has_text="nothing is drawn on it").wait_for()
    ask(page, RING)
    answered(page, "ring")
    page.locator(".ask .trouble").wait_for(state="detached")


def test_the_keyboard_is_enough(visit, photos):
    page = visit("#/try/chars")
    page.on("filechooser", lambda chooser: None)  # so that every one is caught, not only some
    page.locator(".card").first.wait_for()
    visited = []
    for _ in range(40):
        page.keyboard.press("Tab")
        visited.append(focused(page))
        if "Start with an example" in visited[-1]:
            break
    assert visited[0] == "Skip to the content"
    assert not [label for label in visited if "UNSEEN" in label]
    page.keyboard.press("Enter")
    learned(page, "Learned 3 classes")
    page.locator(".verdict strong").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Start over"
    page.keyboard.press("Enter")
    for number in range(2):
        picking = card(page, number).get_by_role("button", name="Pick pictures")
        picking.focus()
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(sorted((photos / f"class{number:02d}").iterdir())[:3])
    learned(page, "Learned 2 classes")
    page.get_by_role("button", name="Pick a picture").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(photos / "class00" / "0.png")
    answered(page, "class 1")
    page.get_by_role("textbox", name="Name of class 1").focus()
    page.keyboard.type("bars")
    answered(page, "bars")


def test_what_changes_while_something_is_refused_is_learned(visit):
    page, held = visit("#/try/chars", expected=["422"]), []
    page.route("**/adapt", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(re.compile("/adapt$")):
        page.get_by_role("button", name="Start with an example").click()
    page.locator(".card-head .icon-button").last.click()
    page.wait_for_timeout(700)  # it would learn what is left now, and waits for the answer
    refusing([(422, "at most 2 classes are taken, got 3")])(held[0])
    learned(page, "Learned 2 classes")
    assert page.locator(".teach .trouble").count() == 0


def test_what_was_taught_is_there_when_the_page_is_loaded_again(visit, photos):
    page = visit("#/try/chars")
    teach(page, 0, "bar", BAR)
    teach(page, 1, "ring", RING)
    card(page, 1).locator("input[type=file]").set_input_files(sorted(photos.rglob("*.png"))[:1])
    learned(page, "(Learned 2 classes|Added 1 example) in")
    with page.expect_request(re.compile("/adapted/.*")) as forgotten:
        page.reload()
    assert forgotten.value.method == "DELETE", "the server keeps nothing that nobody knows of"
    learned(page, "Learned 2 classes")
    names = page.locator(".card input.card-name")
    assert [box.input_value() for box in names.all()] == ["bar", "ring"]
    assert [card(page, n).locator(".thumb img").count() for n in (0, 1)] == [1, 2]
    ask(page, moved(BAR, 0.05, 0.0))
    answered(page, "bar")
    page.get_by_role("button", name="Start over").click()
    page.reload()
    page.get_by_text("Draw an example of two classes").wait_for()
    assert page.locator(".card .thumb").count() == 0
    for unknown in ("{", '{"classes": 3}'):
        page.evaluate(LEAVING, unknown)
        page.reload()
        page.get_by_text("Draw an example of two classes").wait_for()


def test_fingers_drops_and_pastes(visit, photos):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = visit("#/try/chars", **phone)
    card(page, 0).get_by_role("textbox").fill("bar")
    touch(page, card(page, 0).locator(".pad"), BAR)
    card(page, 0).locator(".thumb img").wait_for()
    card(page, 1).get_by_role("textbox").fill("photo")
    files = sorted((photos / "class00").iterdir())[:3]
    transfer(page, card(page, 1), "drop", files)
    learned(page, "Learned 2 classes")
    assert card(page, 1).locator(".thumb img").count() == 3
    transfer(page, page.locator(".ask"), "drop", files[:2])
    answered(page, "photo")
    page.get_by_text("One picture at a time: this is the first of 2.").wait_for()
    page.get_by_role("button", name="Clear the question").click()
    page.locator(".verdict strong").wait_for(state="detached")
    transfer(page, page.locator("body"), "paste", files[2:])
    answered(page, "photo")
    assert page.get_by_text("One picture at a time").count() == 0
