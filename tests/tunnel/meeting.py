"""Where our tunnels and nodes of another make meet; the fixture `soon_renewed` belongs to it."""

from tests.tunnel.bench import NETWORK, TOKEN, Node
from tests.tunnel.foreign import CONTROL, END, OPEN, PING, PONG, ForeignLink, Pipe, node_id

RENEW_RECORDS, RENEW_BYTES = 7, 50_000


def foreign_link(pipe: Pipe, *, dialled: bool, token: str = TOKEN) -> ForeignLink:
    return ForeignLink(
        pipe,
        dialled=dialled,
        token=token,
        network=NETWORK,
        renew_records=RENEW_RECORDS,
        renew_bytes=RENEW_BYTES,
    )


async def check_link(foreign: ForeignLink, ours: Node) -> None:
    """Calls, control messages and PINGs cross a link in both directions, while keys are renewed."""
    assert (foreign.peer.name, foreign.peer.epoch, foreign.peer.network) == ("n0", 1, NETWORK)
    assert node_id(foreign.peer.public) == ours.id
    await foreign.introduce()
    await ours.recorder.until(lambda: foreign.id in ours.tunnel.links)
    link = ours.tunnel.links[foreign.id]
    assert link.name == "foreign"
    texts = [bytes([number]) * number * 500 for number in range(1, 41)]
    for text in texts:
        await foreign.say(CONTROL, END, 0, text)
    await ours.recorder.until(lambda: len(ours.recorder.controls) == len(texts))
    assert ours.recorder.controls == texts
    for text in texts:
        link.send_control(text)
        assert await foreign.hear_one(CONTROL) == (END, 0, text)
    number = 1 if foreign.dialled else 2
    await foreign.say(OPEN, END, number, b"call")
    await ours.recorder.until(lambda: bool(ours.recorder.frames))
    assert ours.recorder.frames == [(OPEN, END, number, b"call")]
    link.port.send(OPEN, END, link.port.next_stream(), b"called")
    assert await foreign.hear_one(OPEN) == (END, 3 - number, b"called")
    await foreign.say(PING, 0, 0, b"12345678")
    assert await foreign.hear_one(PONG) == (0, 0, b"12345678")
    assert foreign.renewals > 12
