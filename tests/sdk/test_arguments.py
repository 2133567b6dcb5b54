import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sdk import Client, Service, codec, errors, metadata
from sdk.arguments import COUNT, TEXTS, WRAPPERS, check, kind_of, optional, text
from sdk.config import ClientConfig, ServiceConfig
from sdk.registry import open_registry
from sdk.registry.memory import MemoryRegistry
from sdk.wrappers import limiting, logged, recovering, retrying, sending_token, timed
from tests.sdk.living import echo, greeting

greeter = Service("greeter")

its: Any = SimpleNamespace(
    Client=Client,
    ClientConfig=ClientConfig,
    Service=Service,
    codec=codec,
    greeter=greeter,
    limiting=limiting,
    logged=logged,
    metadata=metadata,
    open_registry=open_registry,
    recovering=recovering,
    retrying=retrying,
    sending_token=sending_token,
    timed=timed,
)
"""The same names, for calls that a type checker would refuse."""

MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: its.Service(8080), 'Service: name is text, such as "greeter", not int'),
    (lambda: its.Service("x", address=8080), 'Service: address is text, such as "127.0.0.1:8080", not int'),
    (lambda: its.Service("x", address=("", 80)), "Service: address is text, such as .*, not tuple"),
    (lambda: its.Service("x", version=2), "Service: version is text, .*, not int"),
    (lambda: its.Service("x", version=None), "Service: version is text, .*, not None"),
    (lambda: its.Service("x", metadata={"team": 3}), "Service: metadata is text by names, .*, not int at 'team'"),
    (lambda: its.Service("x", metadata=["blue"]), "Service: metadata is text by names, .*, not list"),
    (lambda: its.Service("x", attach=["a:1"]), "Service: attach is text, .*, not list"),
    (lambda: its.Service("x", register_ttl="60s"), "Service: register_ttl is seconds as a number, .*, not str"),
    (lambda: its.Service("x", wrappers=logged()), "Service: wrappers is a list of functions, .*, not function"),
    (lambda: its.Service("x", wrappers=[logged(), "a"]), "Service: wrappers is a list of functions, .*, not str"),
    (lambda: its.Service("x", registry=MemoryRegistry), r"registry is one that is open, as .* gives, not type"),
    (lambda: its.greeter.handle(None), 'handle: endpoint is its name, such as "Greeter.Hello", .*, not None'),
    (lambda: its.greeter.handle(ClientConfig), "has no public `async def`"),
    (lambda: its.greeter.offer(echo), r"offer: handler is .*, not function: use @service\.handle"),
    (lambda: its.greeter.check("x")(1), "check: function is a function, not int"),
    (lambda: its.greeter.before_start(None), "before_start: a hook is a function without arguments, not None"),
    (lambda: its.greeter.after_stop("x"), "after_stop: a hook is a function without arguments, not str"),
    (lambda: its.greeter.stop("now"), "stop: seconds is seconds as a number, .*, not str"),
    (lambda: its.Client("h:1"), r'Client: config is a ClientConfig, not str: .* Client\(address="host:port"\)'),
    (lambda: its.Client(MemoryRegistry()), r"Client: config is a ClientConfig, not MemoryRegistry: .*registry="),
    (lambda: its.Client(wrappers=logged()), "Client: wrappers is a list of functions, .*, not function"),
    (lambda: its.Client(address=("h", 1)), "options: address is text, .*, not tuple"),
    (lambda: its.Client(proxy=8081), "options: proxy is text, .*, not int"),
    (lambda: its.Client(metadata=["a"]), "metadata is text by names, .*, not list"),
    (lambda: its.Client(retries=-1), "options: retries is a whole number from 0 on, .*, not one below zero"),
    (lambda: its.Client(retries=True), "options: retries is a whole number from 0 on, .*, not bool"),
    (lambda: its.Client(idempotent="yes"), "options: idempotent is True or False, not str"),
    (lambda: its.Client(timeout=3), r"no option timeout: .*with trio\.fail_after"),
    (lambda: its.Client(host="h"), "no option host: see sdk.options.Options"),
    (
        lambda: its.ClientConfig(request_timeout="5s"),
        "ClientConfig: request_timeout is seconds .*, not str",
    ),
    (lambda: its.metadata.sending([("a", "b")]).__enter__(), "metadata is text by names, .*, not list"),
    (lambda: its.codec.register("application/x-arg", "json", str), "register: encode is a function, not str"),
    (lambda: its.open_registry("etcd", ["h:1"]), "open_registry: address is text, .*, not list"),
    (lambda: its.limiting("10"), "limiting: rate is calls a second as a number, .*, not str"),
    (lambda: its.retrying("3"), "retrying: times is a whole number .*, not str"),
    (lambda: its.sending_token(None), "token is text, not None"),
    (lambda: its.logged("app"), "logged: logger is a logger, .*, not str"),
    (lambda: its.recovering("app"), "recovering: logger is a logger, .*, not str"),
    (lambda: its.timed(None), "timed: observe is a function, not None"),
]


@pytest.mark.parametrize(("mistake", "says"), MISTAKES, ids=range(len(MISTAKES)))
def test_an_argument_of_another_type_is_named_with_what_is_wanted(mistake: Callable[[], Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        mistake()


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("A.Echo", {"n": 1}), {}, "the endpoint of a call is text, not dict: a call names service, endpoint and"),
        (("greeter", "A.Echo", 1), {"name": "John"}, "no option name: .*the request is one value"),
        (("greeter", "A.Echo", 1), {"version": 2}, "options: version is text, .*, not int"),
        (("greeter", "A.Echo", 1), {"reply_type": [int]}, r"\[<class 'int'>\] cannot be made from a message"),
    ],
)
async def test_a_call_with_arguments_that_do_not_fit_is_told_so_and_others_go_on(
    arguments: Any, options: Any, says: str
) -> None:
    async with greeting({"A.Echo": echo}) as client:
        with pytest.raises(TypeError, match=says):
            await client.call(*arguments, **options)
        with pytest.raises(TypeError, match=says):
            async with client.stream(*arguments, **options):
                pass
        assert await client.call("greeter", "A.Echo", 1, version=None, labels=None, key=None) == 1


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    with pytest.raises(TypeError) as caught:
        Client(b"hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_an_endpoint_has_a_name() -> None:
    with pytest.raises(ValueError, match=r"such as Greeter\.Hello"):
        greeter.handle("")


def test_renewals_without_a_pause_are_refused() -> None:
    said = r"--register-interval \(MICRO_REGISTER_INTERVAL\) is .* above zero"
    for interval in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(errors.BadRequest, match=said):
            ServiceConfig(name="x", register_interval=interval).check()
    with pytest.raises(errors.BadRequest, match="--register-ttl"):
        ServiceConfig(name="x", register_ttl=float("nan")).check()


def test_the_first_that_does_not_fit_is_told() -> None:
    wanted = {"a": text("x"), "b": optional(COUNT), "c": TEXTS, "d": WRAPPERS}
    check("f", wanted, {"a": "", "b": None, "c": {}, "d": ()})
    with pytest.raises(TypeError, match=re.escape("f: b is a whole number from 0 on, such as 3, or None, not float")):
        check("f", wanted, {"a": "", "b": 1.0, "c": None})
    assert (kind_of(None), kind_of("x")) == ("None", "str")
