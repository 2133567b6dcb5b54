from tunnel.admission import MAX_COMPLAINTS, MAX_IN_PROGRESS, MAX_KNOWN, MAX_PER_SECOND, Admission, Gate


def test_at_most_64_handshakes_are_in_progress() -> None:
    gate = Gate()
    assert [gate.begin(1.0) for _ in range(MAX_IN_PROGRESS + 1)] == [True] * MAX_IN_PROGRESS + [False]
    gate.end()
    assert gate.begin(1.0)


def test_at_most_200_handshakes_begin_in_a_second() -> None:
    gate = Gate()

    def begun(now: float) -> int:
        count = 0
        while gate.begin(now):
            gate.end()
            count += 1
        return count

    assert begun(100.0) == MAX_PER_SECOND
    assert begun(100.0) == 0
    assert begun(100.5) == MAX_PER_SECOND // 2
    assert begun(200.0) == MAX_PER_SECOND


def test_who_linked_before_has_a_gate_that_strangers_cannot_crowd() -> None:
    admission = Admission()
    while admission.gate("flood").begin(1.0):
        pass
    assert not admission.gate("friend").begin(1.0)
    admission.remember("friend")
    assert admission.gate("friend").begin(1.0)
    assert admission.in_progress == MAX_IN_PROGRESS + 1


def test_the_host_that_linked_longest_ago_is_forgotten_first() -> None:
    admission = Admission()
    for number in range(MAX_KNOWN):
        admission.remember(f"host {number}")
    admission.remember("host 0")
    admission.remember("new host")
    strangers = admission.gate("stranger")
    assert [admission.gate(f"host {number}") is strangers for number in (0, 1, 2)] == [False, True, False]


def test_an_equal_complaint_is_made_once_a_minute() -> None:
    admission = Admission()
    assert admission.may_complain("host", "why", 0.0)
    assert not admission.may_complain("host", "why", 59.0)
    assert admission.may_complain("host", "another why", 59.0)
    assert admission.may_complain("another host", "why", 59.0)
    assert admission.may_complain("host", "why", 60.0)


def test_the_memory_for_complaints_is_bounded() -> None:
    admission = Admission()
    for number in range(3 * MAX_COMPLAINTS):
        assert admission.may_complain(f"host {number}", "why", 0.0)
    assert len(admission._complaints) <= MAX_COMPLAINTS
