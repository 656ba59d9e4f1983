"""The service's benchmark in short: it runs as it is called, and says what it does not reach."""

import asyncio
import json
import statistics

import pytest
from benchmarks import service, service_page
from benchmarks import service_endurance as long


@pytest.fixture
def figures(monkeypatch, capsys):
    """What the command prints; no figure of time is judged here, where the machine is busy."""
    for name, short in {"ALONE": 5, "BARE_SECONDS": 0.2, "OVERLOAD_SECONDS": 1.0}.items():
        monkeypatch.setattr(service, name, short)

    def run(*told):
        monkeypatch.setattr("sys.argv", ["service", "--threads", "2", "--json", *told])
        with pytest.raises(SystemExit) as stop:
            service.main()
        told = json.loads(capsys.readouterr().out)
        assert stop.value.code == (1 if told["missed"] else 0)
        assert set(told["missed"]) <= set(told["wanted"]) <= set(told)
        return told

    return run


def test_many_clients_are_answered(figures):
    told = figures("--clients", "8", "--requests", "100")
    assert told["errors"] == 0
    assert told["statuses"] == {"200": 100, "201": 100}
    assert (told["clients"], told["requests"]) == (8, 100)
    assert "errors" not in told["missed"]
    assert set(told["wanted"]) == set(service.LOAD)
    for name in ("adapt", "predict", "alone"):
        assert 0 < told[f"{name}_p50_ms"] <= told[f"{name}_p99_ms"]
    for added, whole, bare in (
        ("added_cpu_ms_per_task", "service_cpu_ms_per_task", "bare_cpu_ms_per_task"),
        ("adapt_added_cpu_ms", "adapt_cpu_ms", "bare_adapt_cpu_ms"),
    ):
        rounds = told["rounds"]
        between = [w - b for w, b in zip(rounds[whole], rounds[bare], strict=True)]
        assert rounds[added] == pytest.approx(between, abs=0.002)
        assert told[added] == pytest.approx(statistics.median(rounds[added]), abs=0.001)
        assert min(told[whole], told[bare]) > 0


def test_too_many_clients_are_refused_and_nothing_else(figures, monkeypatch):
    monkeypatch.setattr(service, "QUEUE", 4)
    told = figures("--overload")
    assert told["clients"] == 40
    assert {"200", "201", "429"} <= set(told["statuses"]) <= {"200", "201", "429", "503"}
    assert told["other_statuses"] == 0
    assert told["refused"] >= told["statuses"]["429"]
    assert told["health_asked"] == 50, "as many as were planned, whatever it took"
    assert 0 < told["health_p50_ms"] <= told["health_p99_ms"] <= told["health_max_ms"]
    assert told["memory_peak_mb"] > 0
    assert not {"other_statuses", "refused"} & set(told["missed"])


def test_states_that_live_too_long_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("quickstudy.hub.service.adaptations.PURGE_SECONDS", 0.1)
    # As if they were to be gone when they are made.
    monkeypatch.setattr(long, "LIVE", -0.5)
    service.save_model(tmp_path / "model")
    with service.service(tmp_path, ["--limit", "live=3600", "--limit", "adapted=100000"]) as at:
        made = asyncio.run(long.endurance(*at, seconds=1.0))
    told = service.judged(made, long.ENDURANCE)
    assert told["errors"] == 0, told
    assert set(told["statuses"]) <= {"200", "201", "204", "400"}
    assert told["states_asked"] == told["states_past_their_time"] > 0
    assert told["states_left"] > 0
    assert told["states_evicted"] == 0
    late = {"states_past_their_time", "states_left"}
    assert late <= set(told["missed"]) <= {*late, "memory_growth"}


def test_states_that_went_before_their_time_are_told():
    class Line:
        async def send(self, method, path):
            counts = {"adapted": "0.0", "adapted_bytes": "7.0", "forgotten_quota": "3.0",
                      "forgotten_memory": "2.0", 'requests_total{route="/"}': "9.0"}  # fmt: skip
            text = "".join(f"quickstudy_{name} {value}\n" for name, value in counts.items())
            return 200, f"# HELP quickstudy_adapted States.\n{text}".encode()

    assert asyncio.run(long.left_over(Line())) == (0, 5)


GOOD = {
    "load": (service.LOAD, {"errors": 0, "alone_p50_ms": 15.0, "share_of_bare": 0.7,
                            "adapt_added_cpu_ms": 1.9}),
    "overload": (service.OVERLOAD, {"other_statuses": 0, "refused": 1, "health_p99_ms": 99.99,
                                    "memory_mb_per_client": 0.1}),
    "endurance": (long.ENDURANCE, {"errors": 0, "memory_growth": 0.049, "states_asked": 1,
                                      "states_past_their_time": 0, "states_left": 0,
                                      "states_evicted": 0}),
}  # fmt: skip
BAD = [
    *(("load", *one) for one in {"errors": 1, "alone_p50_ms": 15.01, "share_of_bare": 0.699,
                                 "adapt_added_cpu_ms": 2.01}.items()),
    ("load", "alone_p50_ms", float("nan")),
    *(("overload", *one) for one in {"other_statuses": 1, "refused": 0, "health_p99_ms": 100.0,
                                     "memory_mb_per_client": 0.2}.items()),
    *(("endurance", *one) for one in {"errors": 1, "memory_growth": 0.05, "states_asked": 0,
                                      "states_past_their_time": 1, "states_left": 1,
                                      "states_evicted": 1}.items()),
]  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_at_their_edge_all_figures_are_reached(kind):
    wanted, made = GOOD[kind]
    told = service.judged({**made, "clients": 8}, wanted)
    assert told["missed"] == []
    assert told["clients"] == 8
    assert set(told["wanted"]) == set(made)


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_beyond_it_each_is_missed_by_name(kind, name, value):
    wanted, made = GOOD[kind]
    assert service.judged({**made, name: value}, wanted)["missed"] == [name]


def test_what_is_wanted_is_said_in_words():
    said = service.judged(GOOD["load"][1], service.LOAD)["wanted"]
    assert said == {"errors": "<= 0", "alone_p50_ms": "<= 15", "share_of_bare": ">= 0.7",
                    "adapt_added_cpu_ms": "<= 2"}  # fmt: skip


def test_memory_counts_once_warm():
    rises = [(float(second), 100.0 + min(second, 40)) for second in range(200)]
    assert long.memory_ends(rises, 200) == (140, 140)
    leaks = [(float(second), 100.0 + second) for second in range(200)]
    first, last = long.memory_ends(leaks, 200)
    assert first < 150 < 185 < last


def test_what_was_found_is_kept_and_told_on_the_page(tmp_path, monkeypatch):
    kept, page = tmp_path / "service.json", tmp_path / "serving.md"
    monkeypatch.setattr(service_page, "RESULTS", kept)
    monkeypatch.setattr(service_page, "PAGE", page)
    page.write_text("Before.\n<!-- service -->\nNo figures yet.\n<!-- end -->\nAfter.\n")
    hour = GOOD["endurance"][1] | {"minutes": 60.0, "errors": 3, "statuses": {"200": 2000},
        "memory_first_mb": 400.0, "memory_last_mb": 404.0}  # fmt: skip
    crowd = GOOD["overload"][1] | {"clients": 2560, "statuses": {"201": 10, "429": 22_000},
        "health_p50_ms": 2.1, "health_max_ms": 150.0, "memory_before_mb": 300.4,
        "memory_peak_mb": 480.4}  # fmt: skip
    service_page.record("endurance", service.judged(hour, long.ENDURANCE), 0.0)
    service_page.record("overload", service.judged(crowd, service.OVERLOAD), 0.04)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("Before.", "After.")
    assert lines[2:10] == [
        "| | reached | wanted |",
        "|---|---|---|",
        "| 2,560 clients, ten times what may wait: answers | 10 x 201, 22,000 x 429 "
        "| 200, 201, 429 and 503 alone |",
        "| – `/health` | 2.1 ms, 99 of 100 within 100 ms, all within 150 ms "
        "| < 100 ms for 99 of 100 |",
        "| – memory | from 300 to 480 MB at most, 0.10 MB a client | <= 0.155072 MB a client |",
        "| 60 minutes of mixed load: requests answered otherwise than they should be | 3 of 2,000 "
        "| <= 0 |",
        "| – growth of memory | 4.9 %, from 400 to 404 MB | < 5 % |",
        "| – states past their time | 0 of 1 asked for | <= 0 |",
    ]
    assert list(json.loads(kept.read_text())) == ["overload", "endurance"]


def test_the_page_holds_the_figures_that_are_stored():
    stored = json.loads(service_page.RESULTS.read_text(encoding="utf-8"))
    assert service_page.told(stored) in service_page.PAGE.read_text(encoding="utf-8")
