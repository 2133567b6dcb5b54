from tunnel.admission import MAX_COMPLAINTS, MAX_IN_PROGRESS, MAX_PER_SECOND, Admission


def test_at_most_64_handshakes_are_in_progress() -> None:
    admission = Admission()
    assert [admission.begin(1.0) for _ in range(MAX_IN_PROGRESS + 1)] == [True] * MAX_IN_PROGRESS + [False]
    assert admission.refused == 1
    admission.end()
    assert admission.begin(1.0)


def test_at_most_200_handshakes_begin_in_a_second() -> None:
    admission = Admission()

    def begun(now: float) -> int:
        count = 0
        while admission.begin(now):
            admission.end()
            count += 1
        return count

    assert begun(100.0) == MAX_PER_SECOND
    assert begun(100.0) == 0
    assert begun(100.5) == MAX_PER_SECOND // 2
    assert begun(200.0) == MAX_PER_SECOND


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
