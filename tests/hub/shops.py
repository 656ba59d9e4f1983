"""Tables that tests make: shops, each with slopes of its own, and flowers of several kinds."""

import numpy as np

SMALL = ["--steps", "4", "--tasks-per-step", "2", "--threads", "1", "--device", "cpu",
         "--backbone-option", "hidden=[8]", "--validation-tasks", "2"]  # fmt: skip
SHOPS = ["--group", "shop", "--targets", "sold,returned"]
RATE = {"sold": 100.0, "returned": 2.0}


def shops(count=20, rows=8, first=0, seed=0):
    """Each shop has slopes of its own."""
    import pandas

    random = np.random.default_rng(seed)
    shop = np.repeat(np.arange(first, first + count), rows)
    price, size = random.normal(10, 3, len(shop)), random.normal(0, 50, len(shop))
    slope = random.normal(size=first + count)[shop]
    signal = slope * (price - 10) / 3 + size / 50
    noise = random.normal(0, 0.1, len(shop))
    return pandas.DataFrame(
        {"shop": shop, "price": price, "size": size, "note": "x",
         "sold": 1000 + RATE["sold"] * (signal + noise),
         "returned": 5 - RATE["returned"] * signal}
    )  # fmt: skip


def flowers(kinds=12, each=6):
    import pandas

    random = np.random.default_rng(0)
    kind = np.repeat(np.arange(kinds), each)
    middle = random.normal(0, 30, (kinds, 3))[kind]
    x = 100 + middle + random.normal(0, 1, (len(kind), 3))
    return pandas.DataFrame({f"x{i}": x[:, i] for i in range(3)} | {
        "species": [f"kind {k:02d}" for k in kind]})  # fmt: skip


def edited(path, **columns):
    frame = shops()
    for name, values in columns.items():
        frame[name] = values if not callable(values) else values(frame)
    frame.to_csv(path, index=False)
    return path
