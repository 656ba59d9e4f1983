import json

import pytest

from hub.asking import refused
from quickstudy.hub.service.access import decision
from quickstudy.hub.service.app import PUBLIC, make_app
from quickstudy.hub.service.problems import every


def test_requests_are_counted_by_route(http):
    http.get("/v1/models/proto")
    text = http.get("/metrics").text
    assert 'quickstudy_requests_total{method="GET",route="/v1/models/{model}",status="200"}' in text
    assert "quickstudy_pending 0.0" in text


@pytest.mark.parametrize("path", ["/health", "/v2/health/live", "/v2/health/ready"])
def test_a_balancer_may_ask_for_no_body(http, path):
    answer = http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_browsers_are_told_to_trust_nothing_else(http):
    for path in ("/v1/models", "/nothing"):
        headers = http.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_without_keys_another_sites_page_gets_nothing(http, headers):
    refused(http.get("/v1/models", headers=headers), 403)


def test_without_keys_our_own_page_does(service):
    answer = service.http.get("/v1/models", headers={"Origin": service.url})
    assert answer.status_code == 200


def test_every_route_decides_who_may_or_is_public(service):
    app = make_app(service.adaptations)
    paths = {route.path: decision(route) for route in every(app.routes)}
    assert len(paths) > 12
    undecided = {path for path, scope in paths.items() if scope is None}
    assert undecided == PUBLIC


def test_the_document_says_what_bodies_are(http):
    told = http.get("/openapi.json").json()
    content = told["paths"]["/v1/models/{model}/adapt"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert {"Support", "Query", "InferRequest", "Problem"} <= set(told["components"]["schemas"])
    text = json.dumps(told)
    for ref in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert ref in told["components"]["schemas"]


def test_all_methods_of_an_address_are_told(http):
    answer = http.options("/v1/adapted/x")
    refused(answer, 405)
    assert answer.headers["allow"] == "DELETE, GET"


def test_what_may_follow_is_in_the_document(http):
    told = http.get("/openapi.json").json()
    known = {op["operationId"] for path in told["paths"].values() for op in path.values()}
    links = told["paths"]["/v1/models/{model}/adapt"]["post"]["responses"]["201"]["links"]
    assert {link["operationId"] for link in links.values()} < known
    assert len(links) == 4
