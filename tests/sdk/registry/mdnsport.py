"""A port for the mdns of this process and those it starts alone, instead of the one that the whole host shares.

What one test says would else be heard by every other that runs, here and on the network: a thousand instances of one
fill the sockets of another, whose own packets are then lost. What is tried against other people's programs keeps the
real port.
"""

import importlib.util
import random
import socket
import sys
from pathlib import Path

REAL = 5353


def own_port() -> int:
    """One that nobody has, below those that the system gives out."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            try:
                free.bind(("", port))
            except OSError:
                continue
            return port


def use_port(port: int) -> None:
    """Must be called before zeroconf is imported: its modules take the number from one of them, each for itself."""
    assert "zeroconf" not in sys.modules
    package = importlib.util.find_spec("zeroconf")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location("zeroconf.const", Path(package.origin).with_name("const.py"))
    assert spec is not None
    assert spec.loader is not None
    const = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(const)
    const.__dict__["_MDNS_PORT"] = port
    sys.modules["zeroconf.const"] = const
