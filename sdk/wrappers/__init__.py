"""Wrappers for calls and handlers that many programs need; what a wrapper is, `sdk.wrapping` tells.

service = Service("greeter", wrappers=[logged(), recovering(), checking_token(token)])
client = Client(wrappers=[logged(), retrying(), sending_token(token)])
"""

from .bearer import checking_token, sending_token
from .log import logged
from .ratelimit import limiting
from .recovery import recovering
from .retry import retrying
from .timing import timed

__all__ = ["checking_token", "limiting", "logged", "recovering", "retrying", "sending_token", "timed"]
