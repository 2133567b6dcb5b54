import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.config import CLIENT_SETTINGS, SERVICE_SETTINGS, ClientConfig, ServiceConfig, parse_seconds
from sdk.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("500ms", 0.5), ("1.5", 1.5), ("2m", 120), (" 1h ", 3600)]
)
def test_times_are_read_with_and_without_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@given(st.text(max_size=12))
def test_whatever_is_written_a_time_is_above_zero_or_a_bad_request(text: str) -> None:
    try:
        assert parse_seconds(text) > 0
    except BadRequest:
        pass


@pytest.mark.parametrize("text", ["", "0", "-1", "1d", "nan", "inf", "1e3", "٣"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(BadRequest, match=f"'{text}'"):
        parse_seconds(text)


def test_a_client_reads_its_variables() -> None:
    environment = {
        "MICRO_PROXY": "go.micro.network",
        "MICRO_PROXY_TOKEN": "a secret",
        "MICRO_REGISTRY": "memory",
        "MICRO_REGISTRY_ADDRESS": "here",
        "MICRO_CLIENT_REQUEST_TIMEOUT": "250ms",
        "MICRO_CLIENT_RETRIES": "3",
    }
    assert ClientConfig.from_environment(environment) == ClientConfig(
        proxy="go.micro.network",
        proxy_token="a secret",
        registry="memory",
        registry_address="here",
        request_timeout=0.25,
        retries=3,
    )
    assert "a secret" not in repr(ClientConfig.from_environment(environment))
    assert ClientConfig.from_environment({"MICRO_PROXY": ""}) == ClientConfig()


def test_a_variable_that_makes_no_sense_is_named() -> None:
    with pytest.raises(BadRequest, match="MICRO_CLIENT_REQUEST_TIMEOUT: 'soon'"):
        ClientConfig.from_environment({"MICRO_CLIENT_REQUEST_TIMEOUT": "soon"})
    for text in ("-1", "x", "1.5", "٣"):
        with pytest.raises(BadRequest, match=f"MICRO_CLIENT_RETRIES: '{text}' is no number"):
            ClientConfig.from_environment({"MICRO_CLIENT_RETRIES": text})
    with pytest.raises(BadRequest, match=r"--address \(MICRO_SERVER_ADDRESS\): 'nowhere'"):
        ServiceConfig(name="greeter").override({"MICRO_SERVER_ADDRESS": "nowhere"})


def test_the_environment_overrides_what_the_program_says() -> None:
    config = ServiceConfig(name="greeter", version="2", address="127.0.0.1:1")
    assert config.override({"MICRO_SERVER_NAME": "other", "MICRO_REGISTER_TTL": "90"}) == ServiceConfig(
        name="other", version="2", address="127.0.0.1:1", register_ttl=90.0
    )


def test_a_record_must_live_longer_than_the_pause_between_renewals() -> None:
    with pytest.raises(BadRequest, match=r"MICRO_REGISTER_TTL.*MICRO_REGISTER_INTERVAL"):
        ServiceConfig(name="greeter", register_ttl=10, register_interval=10).check()
    ServiceConfig(name="greeter").check()


def test_every_setting_sets_a_field() -> None:
    for config, settings in ((ClientConfig(), CLIENT_SETTINGS), (ServiceConfig(name="x"), SERVICE_SETTINGS)):
        assert [setting.field for setting in settings if not hasattr(config, setting.field)] == []


def test_a_service_is_attached_to_each_node_that_is_named() -> None:
    assert ServiceConfig(name="greeter").nodes == ()
    told = {"MICRO_ATTACH": "a:8081, b:8081,a:8081,", "MICRO_PROXY_TOKEN": "the secret"}
    config = ServiceConfig(name="greeter").override(told)
    assert config.nodes == ("a:8081", "b:8081")
    assert config.proxy_token == "the secret"
    assert "the secret" not in repr(config)


def test_what_is_no_address_of_a_node_is_named() -> None:
    with pytest.raises(BadRequest, match=r"^--attach \(MICRO_ATTACH\): 'here' is no address"):
        ServiceConfig(name="greeter").override({"MICRO_ATTACH": "here"})
    with pytest.raises(BadRequest, match=r"^--attach \(MICRO_ATTACH\): 'a:0' is no address of a node"):
        ServiceConfig(name="greeter", attach="a:0").check()


@pytest.mark.parametrize("text", ["http://greeter.example", "http://greeter.example:80", "a:b", "host:99999", "a b:80"])
def test_what_nobody_could_dial_is_not_advertised(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^--advertise \(MICRO_SERVER_ADVERTISE\): .* is no address"):
        ServiceConfig(name="greeter", advertise=text).check()
    with pytest.raises(BadRequest, match=r"^--advertise \(MICRO_SERVER_ADVERTISE\): .* is no address"):
        ServiceConfig(name="greeter").override({"MICRO_SERVER_ADVERTISE": text})
