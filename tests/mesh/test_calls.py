"""The last calls of a node, and which of them the log tells of."""

import logging

import pytest

from mesh.calls import KEPT, MAX_TEXT, SLOW, Calls, status_name
from mesh.restraint import FIRST, WINDOW
from proxy.calls import CallRecord
from sdk.errors import Status
from sdk.head import CallHead


def record(
    service: str = "greeter", *, status: int = Status.OK, seconds: float = 0.01, path: bytes = b""
) -> CallRecord:
    return CallRecord(CallHead(service, "Greeter.Hello"), path, 1, status, 100.0, 100.0 + seconds)


def calls(*, log_all: bool = False) -> Calls:
    return Calls(log_all=log_all, name_of=lambda id: id.decode().rstrip("-"), clock=lambda: 102.0)


def test_the_newest_call_comes_first_and_old_ones_are_forgotten() -> None:
    kept = calls()
    for number in range(KEPT + 5):
        kept.take(record(f"s{number}"))
    assert [each["service"] for each in kept.latest(2)] == [f"s{KEPT + 4}", f"s{KEPT + 3}"]
    assert len(kept.latest()) == KEPT
    assert kept.latest(service="s0") == []
    assert len(kept.latest(service="s9")) == 1


def test_a_call_is_told_with_its_path_by_name() -> None:
    kept = calls()
    kept.take(record(path=b"middle----------far-------------"))
    [told] = kept.latest()
    assert told == {
        "service": "greeter",
        "endpoint": "Greeter.Hello",
        "protocol": "rpc",
        "origin": "far",
        "path": ["middle", "far"],
        "tries": 1,
        "status": "OK",
        "ms": 10.0,
        "ago_s": 2.0,
    }


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (record(), False),
        (record(status=Status.CANCELLED), False),
        (record(seconds=SLOW), True),
        (record(status=Status.UNAVAILABLE), True),
        (record(status=404), False),
        (record(status=500), True),
    ],
    ids=["well", "cancelled", "slow", "failed", "asked for what is not there", "failed over HTTP"],
)
def test_the_log_tells_of_what_went_wrong_or_took_long(
    call: CallRecord, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls().take(call)
    assert len(caplog.records) == told
    calls(log_all=True).take(call)
    assert len(caplog.records) == told + 1
    assert "rpc greeter Greeter.Hello: " in caplog.text


def test_of_a_flood_the_log_has_the_first_of_each_service_and_then_the_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    kept = calls()
    for _ in range(FIRST + 990):
        kept.take(record("web", status=Status.UNAVAILABLE))
    kept.take(record("greeter", status=Status.UNAVAILABLE))
    assert [each.getMessage().split()[1] for each in caplog.records] == ["web"] * FIRST + ["greeter"]
    caplog.clear()
    kept.take(record("web")._replace(ended=100.0 + 2 * WINDOW, opened=100.0 + 2 * WINDOW))  # it goes well again
    [said] = caplog.messages
    assert said.startswith("web: 990 more calls went wrong or took over 1 s, within 10 s; ")
    kept.take(record("web", status=Status.UNAVAILABLE)._replace(ended=100.0 + 2 * WINDOW, opened=100.0 + 2 * WINDOW))
    assert len(caplog.messages) == 2


def test_with_the_access_log_every_call_of_a_flood_has_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept = calls(log_all=True)
    for _ in range(FIRST * 2):
        kept.take(record("web", status=Status.UNAVAILABLE))
    kept.take(record("web")._replace(ended=100.0 + 2 * WINDOW))
    assert len(caplog.messages) == FIRST * 2 + 1


def test_what_stands_behind_the_question_mark_of_a_path_is_neither_shown_nor_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    kept = calls(log_all=True)
    asked = CallHead("web", "/reset?token=sesame", "http", 0, "", ("authorization", "Bearer sesame"))
    kept.take(record()._replace(head=asked))
    [told] = kept.latest()
    assert told["endpoint"] == "/reset?…"
    assert "http web /reset?…: OK" in caplog.text
    assert "sesame" not in caplog.text


def test_of_a_thousand_calls_with_the_longest_heads_a_megabyte_is_kept() -> None:
    kept = calls()
    for number in range(KEPT):
        head = CallHead(f"{number}" * 8000, f"/{number}" * 8000, "http", 0, "", ("cookie", f"{number}" * 8000))
        kept.take(record()._replace(head=head))
    told = kept.latest()
    assert len(told) == KEPT
    assert all(len(each["service"]) == len(each["endpoint"]) == MAX_TEXT + 1 for each in told)
    assert len(repr(list(kept._kept))) < 1 << 20


def test_a_status_without_a_name_is_its_number() -> None:
    assert (status_name(5), status_name(99)) == ("NOT_FOUND", "99")


def test_a_status_of_http_is_named_as_one() -> None:
    assert status_name(503) == "HTTP 503"
