import pytest

from sdk.errors import RemoteProtocolError
from sdk.registry import Action, Event
from sdk.registry.records import Change
from sdk.registry.remote import event_record, parse_change_untrusted, parse_records_untrusted
from sdk.types import Instance, Service, service_to_json

ONE = Service(name="greeter", instances=(Instance(id="1", address="h:80"),))


@pytest.mark.parametrize("action", list(Action))
def test_a_change_is_read_as_it_was_written(action: Action) -> None:
    record = None if action is Action.DELETE else ONE
    change = Change(("greeter", "latest", "1"), record)
    assert parse_change_untrusted(event_record(Event(action=action, service=ONE))) == change


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "a change is create, update, delete"),
        ({"action": "ready"}, "not 'ready'"),
        ({"action": []}, "a change is"),
        ({"action": "create"}, "service is not an object"),
        ({"action": "create", "service": {"name": "a"}}, "of one instance, not of 0"),
    ],
)
def test_what_is_no_change_is_refused(data: object, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_change_untrusted(data)


def test_the_good_half_of_an_answer_works_and_the_bad_is_named() -> None:
    good, bad = parse_records_untrusted({"services": [service_to_json(ONE), {"name": 3}, None]})
    assert good == (ONE,)
    assert bad == ("name is missing or not text", "service is not an object")


@pytest.mark.parametrize("data", [None, {}, {"services": {}}, []])
def test_an_answer_without_records_is_refused(data: object) -> None:
    with pytest.raises(RemoteProtocolError, match="no list of services"):
        parse_records_untrusted(data)
