from tunnel.keyring import MAX_REMEMBERED, Keyring

OLD, NEW, OTHER = b"old" * 10, b"new" * 10, b"other" * 6


def keyring(*keys: bytes) -> Keyring:
    ring = Keyring()
    ring.replace(keys)
    return ring


def test_an_address_is_dialled_with_the_first_key_and_then_with_the_others() -> None:
    assert list(keyring(NEW, OLD, OTHER).to_dial("a:1")) == [NEW, OLD, OTHER]


def test_the_key_that_worked_at_an_address_comes_first_there() -> None:
    ring = keyring(NEW, OLD, OTHER)
    ring.worked("a:1", OTHER)
    assert list(ring.to_dial("a:1")) == [OTHER, NEW, OLD]
    assert list(ring.to_dial("b:1")) == [NEW, OLD, OTHER]
    ring.worked("a:1", NEW)
    assert list(ring.to_dial("a:1")) == [NEW, OLD, OTHER]


def test_a_key_that_was_withdrawn_is_forgotten_everywhere() -> None:
    ring = keyring(NEW, OLD)
    ring.worked("a:1", OLD)
    ring.replace([NEW])
    assert list(ring.to_dial("a:1")) == [NEW]
    ring.worked("a:1", OLD)  # by a handshake that began before
    assert list(ring.to_dial("a:1")) == [NEW]


def test_whoever_dials_while_keys_are_replaced_goes_on_with_the_old_ones() -> None:
    ring = keyring(NEW, OLD)
    keys = ring.to_dial("a:1")
    assert next(keys) == NEW
    ring.replace([OTHER])
    assert list(keys) == [OLD]


def test_the_memory_for_addresses_is_bounded() -> None:
    ring = keyring(NEW, OLD)
    for number in range(3 * MAX_REMEMBERED):
        ring.worked(f"a:{number}", OLD)
    assert len(ring._worked) <= MAX_REMEMBERED


def test_a_keyring_does_not_show_its_keys() -> None:
    assert repr(keyring(NEW, OLD)) == "<Keyring with 2 keys>"
