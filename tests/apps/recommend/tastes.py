"""A small market of two tastes: what a new shopper wants shows in a few interactions."""

import csv

import numpy as np

ITEMS = 40
TOWNS = ["north", "south"]


def interactions(users=60, each=12, seed=0):
    """Columns of a table: shoppers of either taste, who rate their half of the items higher."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        taste = user % 2
        fair = np.where(np.arange(ITEMS) % 2 == taste, 0.9, 0.1)
        chosen = random.choice(ITEMS, each, replace=False, p=fair / fair.sum())
        start = random.uniform(0, 1000)
        for place, item in enumerate(chosen):
            stars = random.integers(4, 6) if item % 2 == taste else random.integers(1, 3)
            rows.append((f"u{user}", f"i{item}", float(stars), start + place))
    user, item, stars, time = (list(column) for column in zip(*rows, strict=True))
    return {"user": user, "item": item, "stars": stars, "time": time}


def items():
    """Columns of a table: the taste that each item is of, a price, and one item never sold."""
    return {
        "item": [f"i{item}" for item in range(ITEMS)] + ["new"],
        "kind": ["even" if item % 2 == 0 else "odd" for item in range(ITEMS)] + ["odd"],
        "price": [float(item) for item in range(ITEMS)] + [7.0],
    }


def users(count=60):
    """Columns of a table: the town decides the taste, the age says as much, membership nothing."""
    return {
        "user": [f"u{user}" for user in range(count)],
        "town": [TOWNS[user % 2] for user in range(count)],
        "age": [20.0 + user / 2 + 30 * (user % 2) for user in range(count)],
        "member": [user % 3 == 0 for user in range(count)],
    }


def write(path, columns):
    """Columns as a CSV file; its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path
