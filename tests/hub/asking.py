"""What tests of the service send and expect."""

import io

import numpy as np
from PIL import Image


def some(count, seed=0, shape=(4,)):
    return np.random.default_rng(seed).normal(size=(count, *shape)).round(4).tolist()


def adapted(http, model="proto", labels="aabb", seed=0):
    answer = http.post(
        f"/v1/models/{model}/adapt", json={"x": some(len(labels), seed), "labels": list(labels)}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    for word in words:
        assert word in told["detail"]


def png(seed=0, size=20):
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
