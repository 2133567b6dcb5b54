from typing import Any

import pytest

from tests.sdk.living import count, greeting


async def test_a_stream_that_was_not_opened_says_how_it_is_and_the_client_goes_on() -> None:
    async with greeting({"G.Count": count}) as client:
        unopened: Any = client.stream("greeter", "G.Count", {"to": 2})
        with pytest.raises(TypeError, match=r"`async with client\.stream\(\.\.\.\) as stream:`"):
            async for _ in unopened:
                pass
        with pytest.raises(TypeError, match=r"`async with client\.stream\(\.\.\.\) as stream:`"):
            await unopened
        async with client.stream("greeter", "G.Count", {"to": 2}) as stream:
            assert [message async for message in stream] == [{"n": 0}, {"n": 1}]
