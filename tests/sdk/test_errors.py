"""The error tree, and how an error survives the wire."""

import json
import re

import grpc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdk import errors
from sdk.errors import (
    BadRequest,
    Cancelled,
    Conflict,
    Forbidden,
    InternalServerError,
    LocalProtocolError,
    MicroError,
    NotFound,
    ProtocolError,
    RemoteProtocolError,
    Status,
    Timeout,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unimplemented,
    error_from_http,
    error_from_status,
)

OF_CALLS = (
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Unimplemented,
    Timeout,
    Conflict,
    TooManyRequests,
    Cancelled,
    InternalServerError,
    Unavailable,
)


def test_the_numbers_are_those_of_grpc() -> None:
    assert {status.name: status.value for status in Status} == {code.name: code.value[0] for code in grpc.StatusCode}


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    drawn = {
        name: (int(code), status) for name, code, status in re.findall(r"── (\w+) +(\d+)  (\w+)", errors.__doc__ or "")
    }
    assert drawn == {kind.__name__: (kind.code, kind.grpc.name) for kind in OF_CALLS}
    named = set(re.findall(r"\b[A-Z]\w+Error\b", errors.__doc__ or "")) | set(drawn)
    assert named == {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, MicroError)
    }


def test_a_broken_rule_is_ours_or_theirs() -> None:
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)


def test_a_missing_endpoint_is_a_kind_of_not_found() -> None:
    with pytest.raises(NotFound):
        raise Unimplemented("greeter has no Greeter.Goodbye")


@pytest.mark.parametrize("kind", OF_CALLS)
def test_each_error_survives_the_wire(kind: type[MicroError]) -> None:
    sent = kind("it went wrong", id="greeter")
    got = error_from_status(sent.grpc, sent.to_json())
    assert type(got) is kind
    assert (got.id, got.detail, str(got)) == ("greeter", "it went wrong", "it went wrong")
    assert got.to_json() == sent.to_json()


def test_an_exception_stands_for_what_it_says() -> None:
    error = BadRequest(ValueError("no such month"))
    assert (error.detail, str(error)) == ("no such month", "no such month")
    assert json.loads(error.to_json())["detail"] == "no such month"


def test_the_form_on_the_wire_is_go_micros() -> None:
    assert json.loads(NotFound("no such service", id="go.micro.client").to_json()) == {
        "id": "go.micro.client",
        "code": 404,
        "detail": "no such service",
        "status": "Not Found",
    }


def test_a_plain_message_is_the_detail() -> None:
    error = error_from_status(Status.INVALID_ARGUMENT, "name is missing")
    assert type(error) is BadRequest
    assert (error.detail, error.id) == ("name is missing", "")


@pytest.mark.parametrize("message", ['{"detail": 5}', '{"id": "x"}', "{}", "{", "{not json}", '{"a":' * 100_000, ""])
def test_a_message_that_only_looks_like_json_is_the_detail(message: str) -> None:
    assert error_from_status(Status.INTERNAL, message).detail == message


@pytest.mark.parametrize("id", ["null", "5", "{}"])
def test_an_id_that_is_no_text_is_none(id: str) -> None:
    error = error_from_status(Status.INTERNAL, f'{{"detail": "d", "id": {id}}}')
    assert (error.id, error.detail) == ("", "d")


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.ABORTED, Status.DATA_LOSS, 17, -1, 10**30])
def test_a_status_without_a_kind_of_its_own_is_the_plain_error(status: int) -> None:
    assert type(error_from_status(status, "odd")) is MicroError


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.FAILED_PRECONDITION, 412),
        (Status.ABORTED, 409),
        (Status.OUT_OF_RANGE, 400),
        (Status.DATA_LOSS, 500),
        (Status.UNKNOWN, 500),
    ],
)
def test_a_status_without_a_kind_goes_on_as_it_came(status: Status, code: int) -> None:
    error = error_from_status(status, "odd")
    assert (error.grpc, error.code) == (status, code)
    again = error_from_status(error.grpc, error.to_json())
    assert (type(again), again.grpc, again.to_json()) == (MicroError, status, error.to_json())
    assert (MicroError("another").grpc, MicroError("another").code) == (Status.UNKNOWN, 500)


def test_each_status_of_grpc_has_an_error_that_has_this_status() -> None:
    for status in Status:
        if status is not Status.OK:
            assert error_from_status(status, "odd").grpc is status


@pytest.mark.parametrize("kind", OF_CALLS)
def test_each_error_survives_http(kind: type[MicroError]) -> None:
    sent = kind("it went wrong", id="greeter")
    got = error_from_http(sent.code, sent.to_json())
    assert type(got) is (NotFound if kind is Unimplemented else kind)  # HTTP has one number for both
    assert got.to_json() == sent.to_json()


@pytest.mark.parametrize(("code", "kind"), [(501, Unimplemented), (504, Timeout), (502, MicroError)])
def test_an_http_status_that_we_do_not_send_is_understood(code: int, kind: type[MicroError]) -> None:
    assert type(error_from_http(code, "<html>")) is kind


def test_go_micros_code_counts_where_its_status_says_nothing() -> None:
    def said(code: object, status: Status = Status.UNKNOWN) -> MicroError:
        text = json.dumps({"id": "go.micro.srv", "code": code, "detail": "no", "status": "I'm a teapot"})
        return error_from_status(status, text)

    assert type(said(404)) is NotFound
    assert type(said(404, Status.INVALID_ARGUMENT)) is BadRequest
    teapot = said(418)
    assert (type(teapot), teapot.code, teapot.phrase, teapot.id) == (MicroError, 418, "I'm a teapot", "go.micro.srv")
    assert json.loads(teapot.to_json())["code"] == 418
    for code in (0, 200, 10**30, -1, None, "404", True):
        assert said(code).code == 500


def test_whether_a_call_may_have_run_is_kept() -> None:
    for may_have_run in (True, False):
        error = error_from_status(Status.UNAVAILABLE, "gone", may_have_run=may_have_run)
        assert isinstance(error, Unavailable)
        assert error.may_have_run is may_have_run
    # Who does not know must take it that it ran; who raises it himself knows that it did not.
    unknown = error_from_status(Status.UNAVAILABLE, "gone")
    assert isinstance(unknown, Unavailable)
    assert unknown.may_have_run
    assert not Unavailable("no route").may_have_run


@given(st.integers(), st.text() | st.text().map("{".__add__) | st.recursive(st.none(), st.lists).map(json.dumps))
@example(13, '{"detail":"d","id":1' + "0" * 5000 + "}")
def test_no_status_and_message_fail(status: int, message: str) -> None:
    assert isinstance(error_from_status(status, message), MicroError)
    assert isinstance(error_from_http(status, message), MicroError)
