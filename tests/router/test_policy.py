import pytest

from router.policy import Policy, Strategy
from sdk.errors import BadRequest


@pytest.mark.parametrize(
    ("strategy", "transit", "radius", "exported"),
    [("all", True, 3, True), ("best", True, 3, True), ("local", False, 1, True), ("none", False, 0, False)],
)
def test_a_strategy_says_how_far_a_node_takes_part(strategy: str, transit: bool, radius: int, exported: bool) -> None:
    policy = Policy(strategy=Strategy(strategy))
    assert (policy.transit, policy.radius, policy.exported("greeter")) == (transit, radius, exported)
    assert policy.imported("greeter")


@pytest.mark.parametrize(
    ("patterns", "service", "fits"),
    [
        ((), "anything", True),
        (("public.*",), "public.greeter", True),
        (("public.*",), "private.greeter", False),
        (("public.*",), "PUBLIC.greeter", False),
        (("a", "b"), "b", True),
        (("a?", "[xy]*"), "yes", True),
        (("!secret.*",), "secret.store", False),
        (("!secret.*",), "greeter", True),
        (("public.*", "!public.debug"), "public.debug", False),
        (("public.*", "!public.debug"), "public.greeter", True),
        (("!*", "greeter"), "greeter", True),
        (("!*", "greeter"), "other", False),
        (("a*", "!ab*", "abc"), "abc", True),
    ],
)
def test_patterns_say_which_services_are_meant_and_the_last_that_fits_decides(
    patterns: tuple[str, ...], service: str, fits: bool
) -> None:
    assert Policy(exports=patterns).exported(service) is fits
    assert Policy(imports=patterns).imported(service) is fits


@pytest.mark.parametrize("pattern", ["", "!", "a\nb", "x" * 300])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest, match="pattern"):
        Policy(exports=(pattern,))
    with pytest.raises(BadRequest, match="pattern"):
        Policy(imports=("*", pattern))
