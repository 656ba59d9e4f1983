"""Serve the new users of a shop after a few clicks, and see what that is worth to them.

Makes up a shop whose users' true preferences are known, meta-trains a recommender on four in five
of the users, and shows it the first clicks of the others. It is judged by regret: how much more a
user would have liked the best ten items than the ten that were recommended. Beside it, as the
control, what most users clicked: the same for everyone, whatever they click.

    python recipes/new_shop_users.py             # about a minute
    python recipes/new_shop_users.py --quick     # seconds, a smaller shop
"""

import argparse
from collections import Counter

import numpy as np

import quickstudy as qs
from quickstudy.plots.canvas import BLUE, ORANGE, sheet

parser = argparse.ArgumentParser(description="A few clicks of new users, beside popularity.")
parser.add_argument("--quick", action="store_true", help="a smaller shop")
parser.add_argument("--out", default="new_shop_users.png", help="where the picture goes")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
size = {"users": 500, "items": 300, "interactions": 15_000} if args.quick else {}
shots, served = (1, 2, 3, 5, 7, 10), 10

# A shop, and its users in two parts: nothing of the new ones is trained on.
shop = qs.recommend.shop(args.seed, **size)
new = set(shop.users["user"][::5])
rows = list(zip(*shop.interactions.values(), strict=True))
known = zip(*(row for row in rows if row[0] not in new), strict=True)
training = dict(zip(shop.interactions, known, strict=True))
clicks: dict[str, list[str]] = {user: [] for user in sorted(new)}
for user, item, _ in rows:
    if user in new:
        clicks[user].append(item)
clicks = {user: items for user, items in clicks.items() if len(items) > max(shots)}
print(f"{len(rows)} clicks of {len(shop.users['user'])} users on {len(shop.items['item'])} items")

# Meta-train. The control needs no more than a count.
rec = qs.recommend.train(training, shop.items, seed=args.seed)
popular = [item for item, _ in Counter(training["item"]).most_common()]

# Adapt to one new user: each further click moves what is recommended.
user = max(clicks, key=lambda user: len(clicks[user]))
for shot in (1, 5):
    first = clicks[user][:shot]
    best = [row.item for row in rec.top(rec.adapt(first), k=5)]
    print(f"{user} clicked {', '.join(first)}; next: {', '.join(best)}")

# Regret of all new users, over what they have not clicked yet.
regret: dict[str, dict[int, list[float]]] = {"quickstudy": {}, "popularity": {}}
for shot in shots:
    for name, figures in regret.items():
        figures[shot] = []
        for user, items in clicks.items():
            first = items[:shot]
            left = [item for item in shop.items["item"] if item not in first]
            if name == "quickstudy":
                ranked = [row.item for row in rec.top(rec.adapt(first), k=served)]
            else:
                ranked = [item for item in popular if item not in first][:served]
            figures[shot].append(shop.regret(user, ranked, left))

means = {name: [np.mean(of[shot]) for shot in shots] for name, of in regret.items()}
halves = {name: [1.96 * np.std(of[shot], ddof=1) / len(of[shot]) ** 0.5 for shot in shots]
          for name, of in regret.items()}  # fmt: skip
print(f"regret of {served} items, mean over {len(clicks)} new users, with 95 % intervals")
print("clicks", *(f"{name:>15}" for name in means))
for place, shot in enumerate(shots):
    print(f"{shot:6}", *(f"{means[n][place]:8.2f} ± {halves[n][place]:.2f}" for n in means))
with sheet(args.out, 5.2, 3.6) as figure:
    axes = figure.add_axes((0.11, 0.14, 0.86, 0.77))
    for (name, mean), colour, marker in zip(means.items(), (BLUE, ORANGE), "os", strict=True):
        axes.errorbar(shots, mean, halves[name], color=colour, marker=marker, capsize=3, label=name)
    axes.set(title=f"What {len(clicks)} new users missed", xlabel="clicks that are known",
             ylabel="regret, 95 % interval", ylim=(0, None), xticks=shots)  # fmt: skip
    axes.legend(loc="lower left")
print(f"picture: {args.out}")
