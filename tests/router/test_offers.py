from router.choice import Way
from router.offers import Offers, OriginRoute, origin_route
from router.paths import Path
from tests.router.network import entry

X1, X2 = (entry("x", "1"),), (entry("x", "1"), entry("x", "2"))


def test_a_service_is_kept_with_all_who_offer_it_and_goes_with_the_last() -> None:
    offers = Offers()
    assert offers.put("x", b"a", X1, 1.0) == ()
    assert offers.put("x", b"b", X2, 2.0) == ()
    offer = offers.get("x")
    assert offer is not None
    assert offer.origins == {b"a": X1, b"b": X2}
    assert offer.changed == 2.0
    assert offers.put("x", b"a", (), 3.0) == X1
    assert offers.put("x", b"b", X1, 4.0) == X2
    assert list(offers.items()) == [("x", offer)]
    assert list(offers.values()) == [offer]
    assert offers.put("x", b"b", (), 5.0) == X1
    assert offers.get("x") is None


def test_names_are_found_in_whatever_case_while_somebody_offers_them() -> None:
    offers = Offers()
    offers.put("Web", b"a", X1, 1.0)
    offers.put("Web", b"b", X1, 1.0)
    offers.put("Web", b"a", (), 2.0)
    assert offers.spellings.of("web") == ["Web"]
    offers.put("Web", b"b", (), 3.0)
    assert offers.spellings.of("web") == []


def test_what_is_not_there_cannot_go() -> None:
    offers = Offers()
    assert offers.put("x", b"a", (), 1.0) == ()
    assert offers.get("x") is None


def test_what_was_found_for_calls_does_not_outlive_a_change() -> None:
    offers = Offers()
    offers.put("x", b"a", X1, 1.0)
    offer = offers.get("x")
    assert offer is not None
    offer.found_at = 7
    offers.put("x", b"b", X1, 2.0)
    assert offer.found_at == -1


def test_a_call_is_routed_by_both_paths_and_all_versions_together() -> None:
    way = Way(Path((b"b", b"z"), 3), Path((b"c", b"d", b"z"), 5), 0.0)
    assert origin_route(b"z", way, X2) == OriginRoute(
        b"z", (b"b", b"z"), b"bz", 3, (b"c", b"d", b"z"), b"cdz", 2, 2, ("grpc",)
    )
    alone = origin_route(b"z", way._replace(spare=None), ())
    assert (alone.spare, alone.spare_bytes, alone.weight) == ((), b"", 0)
