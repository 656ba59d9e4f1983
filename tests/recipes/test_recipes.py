"""Every recipe runs in its quick form, as a user runs it, and shows what it says it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

RECIPES = Path(__file__).parents[2] / "recipes"


def run(recipe, folder, *options):
    bare = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-W", "error", RECIPES / recipe, "--quick", *options],
        cwd=folder, env=bare | {"LC_ALL": "C", "OMP_NUM_THREADS": "1"}, timeout=600,
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def figures(text):
    """Means and intervals, "1.77 ± 0.2" each, line by line."""
    pairs = [re.findall(r"([\d.]+) ± ([\d.]+)", line) for line in text.splitlines()]
    return [[(float(mean), float(half)) for mean, half in line] for line in pairs if line]


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.py")), ids=lambda path: path.name)
def test_a_recipe_is_read_in_one_go(recipe):
    assert len(recipe.read_text(encoding="utf-8").splitlines()) <= 80


def test_sine_regression(tmp_path):
    said = run("sine_regression.py", tmp_path, "--out", "sines.png")
    start, one, five, ten = figures(said)
    assert abs(start[0][0] - start[1][0]) < start[0][1] + start[1][1], "no step: no difference"
    for (maml, half), (control, other) in (one, five, ten):
        assert maml + half < control - other
    assert one[0][0] < 0.8 * start[0][0], "one step of MAML's helps"
    assert ten[0][0] < one[0][0], "more steps help more, though it was trained for one"
    with Image.open(tmp_path / "sines.png") as picture:
        assert picture.size == (1530, 555)


def test_few_shot_characters(tmp_path, data_cache):
    said = run("few_shot_characters.py", tmp_path)
    ((learner, half),), ((control, other),) = figures(said)
    assert learner - half > control + other
    assert control + other > 20, "the control is no worse than chance"
    (right,) = re.findall(r"of each of 5 symbols: (\d+) of 25 others right", said)
    assert int(right) > 5
    with Image.open(tmp_path / "few_shot_characters.png") as picture:
        assert picture.width > 700


def test_few_shot_characters_with_drawings_of_ones_own(tmp_path, data_cache):
    strokes = {"ring": "ellipse", "bar": "line"}
    for symbol, stroke in strokes.items():
        (tmp_path / "mine" / symbol).mkdir(parents=True)
        for number in range(3):
            page = Image.new("L", (60, 50), 245)
            box = (15 + 3 * number, 10, 40, 40 - 2 * number)
            getattr(ImageDraw.Draw(page), stroke)(
                box, width=3, **{"fill": 10} if stroke == "line" else {"outline": 10}
            )
            page.save(tmp_path / "mine" / symbol / f"{number}.png")
    said = run("few_shot_characters.py", tmp_path, "--drawings", "mine", "--out", "mine.png")
    assert "each of 2 symbols: 4 of 4 others right" in said
    assert (tmp_path / "mine.png").exists()


def test_new_shop_users(tmp_path):
    said = run("new_shop_users.py", tmp_path)
    one, *_, ten = figures(said)
    for (ours, _), (popularity, _) in (one, ten):
        assert ours < popularity
    assert sum(ten[0]) < ten[1][0]
    assert ten[0][0] < one[0][0], "more clicks say more"
    assert len(re.findall(r"^u\d+ clicked .*; next: ", said, re.M)) == 2
    with Image.open(tmp_path / "new_shop_users.png") as picture:
        assert picture.size == (780, 540)


def test_new_category(tmp_path):
    said = run("new_category.py", tmp_path)
    rows = figures(said)
    assert len(rows) == 7
    for (ours, half), (popular, other) in rows[:4]:
        assert ours + half < popular - other
    assert rows[-1][0][0] < rows[0][0][0], "interactions help"
    with Image.open(tmp_path / "new_category.png") as picture:
        assert picture.width > 700
