"""Open a new category of a shop: what users miss after so many interactions with it by anybody.

Makes up a shop whose users' true preferences are known, and takes one category out of it. A
recommender is meta-trained on the rest, by opening categories that it knows anew. Then the category
opens: with each first interaction, whoever made it, every user's ranking of its items moves. It is
judged by regret: how much more users would have liked the best ten items than the ten they are
served. The control: what was taken most so far, ties broken at random.

    python recipes/new_category.py             # a minute; --quick: a smaller shop
"""

import argparse
import random
from collections import Counter

import numpy as np

import quickstudy as qs
from quickstudy.plots.canvas import BLUE, ORANGE, sheet

parser = argparse.ArgumentParser(description="A new category of a shop, beside popularity.")
parser.add_argument("--quick", action="store_true", help="a smaller shop")
parser.add_argument("--out", default="new_category.png", help="where the picture goes")
parser.add_argument("--category", default="mug", help="which one is new")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
size = {"users": 400, "items": 300, "interactions": 12_000} if args.quick else {}
sizes, served = (0, 3, 6, 12, 25, 50, 100), 10

# A shop, and its tables in two parts: nothing of the category is trained on.
shop = qs.recommend.shop(args.seed, **size)


def part(table: dict, new: bool) -> dict:
    """The rows of a table that are of the new category, or all others."""
    chosen = [name.startswith(args.category) == new for name in table["item"]]
    return {key: [v for v, ok in zip(column, chosen, strict=True) if ok]
            for key, column in table.items()}  # fmt: skip


elsewhere, first = part(shop.interactions, new=False), part(shop.interactions, new=True)
things = part(shop.items, new=True)
rec = qs.recommend.train(elsewhere, part(shop.items, new=False), seed=args.seed)

# Users who never were among the first, with their histories elsewhere.
histories: dict[str, list[str]] = {}
for user, item in zip(elsewhere["user"], elsewhere["item"], strict=True):
    histories.setdefault(user, []).append(item)
others = sorted(set(histories) - set(first["user"][: max(sizes)]))
chosen = random.Random(args.seed).sample(others, min(100, len(others)))
states = {user: rec.adapt(histories[user]) for user in chosen}
# Open the category with ever more interactions.
regret: dict[str, list[list[float]]] = {"quickstudy": [], "popularity": []}
for count in sizes:
    opened = rec.adapt_category({key: column[:count] for key, column in first.items()}
                                if count else None, things)  # fmt: skip
    taken = Counter(first["item"][:count])
    shuffled = random.Random(count).sample(things["item"], len(things["item"]))
    popular = sorted(shuffled, key=lambda item: -taken[item])[:served]
    best = {user: [row.item for row in opened.top(state, served)] for user, state in states.items()}
    regret["quickstudy"].append([shop.regret(u, best[u], things["item"]) for u in chosen])
    regret["popularity"].append([shop.regret(u, popular, things["item"]) for u in chosen])

print(f"regret of {served} of {len(things['item'])} items, {args.category}: {len(chosen)} users")
means = {name: [np.mean(row) for row in rows] for name, rows in regret.items()}
halves = {name: [1.96 * np.std(row, ddof=1) / len(row) ** 0.5 for row in rows]
          for name, rows in regret.items()}  # fmt: skip
print("interactions", *(f"{name:>15}" for name in regret))
for place, count in enumerate(sizes):
    print(f"{count:12}", *(f"{means[n][place]:8.2f} ± {halves[n][place]:.2f}" for n in regret))
with sheet(args.out, 5.2, 3.6) as figure:
    axes = figure.add_axes((0.11, 0.14, 0.86, 0.77))
    for (name, mean), colour, marker in zip(means.items(), (BLUE, ORANGE), "os", strict=True):
        axes.errorbar(sizes, mean, halves[name], color=colour, marker=marker, capsize=3, label=name)
    axes.set_xscale("symlog", linthresh=3)
    axes.set(title=f"What {len(chosen)} users missed in a new category", ylim=(0, None),
             xlabel="interactions with it, by anybody", ylabel="regret, 95 % interval",
             xticks=sizes, xticklabels=sizes)  # fmt: skip
    axes.legend(loc="lower left")
print(f"picture: {args.out}")
