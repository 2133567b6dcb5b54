"""Tries whether an instance is alive, once, as its check says."""

import trio

from sdk.codec import BYTES
from sdk.errors import BadRequest, MicroError, RemoteProtocolError, Unimplemented
from sdk.head import CallHead, pack_call_head
from sdk.netaddress import split_address
from sdk.pool import Pool
from sdk.rawsocket import RawSocket, open_tcp
from sdk.reply import ClientStream
from sdk.wire.message import encode_message
from tunnel.transport.tls import Tls
from tunnel.transport.tlsstream import TlsStream

from .check import Check, Kind

MAX_LINE = 1024
"""Bytes within which the status line of an HTTP answer must end."""

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
"""`HealthCheckResponse{status: SERVING}` in protobuf (grpc.io, health checking protocol)."""


async def probe(check: Check, tls: Tls) -> str:
    """What is wrong with the instance, empty when it is well. Takes no longer than the check says. `tls` says who is
    believed, with HTTPS."""
    reason = f"no answer in {check.timeout:g} s"
    with trio.move_on_after(check.timeout):
        try:
            reason = await _TRIES[check.kind](check, tls)
        except MicroError as error:
            reason = error.detail
        except (trio.BrokenResourceError, OSError) as error:
            reason = f"the connection broke: {error}"
    return reason


def parse_status_untrusted(line: bytes) -> int:
    """The status in the first line of an HTTP/1 answer. Raises `RemoteProtocolError`, and nothing else."""
    version, _, rest = line.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(status) < 3 or not status.isdigit() or rest[3:4].strip():
        raise RemoteProtocolError(f"this is no HTTP: {line[:40]!r}")
    return int(status)


async def _tcp(check: Check, tls: Tls) -> str:
    async with await open_tcp(check.address):
        return ""


async def _http(check: Check, tls: Tls) -> str:
    request = (
        f"GET {check.path} HTTP/1.1\r\nHost: {check.address}\r\nUser-Agent: micro\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    )
    async with await open_tcp(check.address) as socket:
        stream: RawSocket | TlsStream = socket
        if check.kind is Kind.HTTPS:
            stream = await _secured(socket, check, tls)
        await stream.send_all(request.encode("ascii"))
        answer = b""
        while b"\n" not in answer and len(answer) < MAX_LINE:
            data = await stream.receive_some()
            if not data:
                break
            answer += data
    status = parse_status_untrusted(answer.partition(b"\n")[0].rstrip(b"\r"))
    return "" if 200 <= status < 400 else f"{check.path} answers with status {status}"


async def _secured(socket: RawSocket, check: Check, tls: Tls) -> TlsStream:
    host = split_address(check.address)[0].partition("%")[0]
    try:
        stream = TlsStream(socket, tls.dialling, host=host)
    except ValueError as error:  # so Python refuses names that no certificate could have
        raise BadRequest(f"{host!r} is no name of a host: {error}") from None
    await stream.handshake()
    return stream


async def _grpc(check: Check, tls: Tls) -> str:
    reason = ""
    async with trio.open_nursery() as nursery:
        connection = Pool(nursery).connection_to(check.address, grpc=True)
        head = pack_call_head(CallHead("grpc.health.v1.Health", _HEALTH, content_type=BYTES, call_id=bytes(16)))
        call = connection.mux.open(head, encode_message(b""), end=True, ms=int(check.timeout * 1000))
        stream = ClientStream(call, BYTES, None)
        try:
            answer = await stream.only_message()
        except Unimplemented:
            pass  # it has no such service, but it speaks gRPC
        except MicroError as error:
            reason = error.detail
        else:
            reason = "" if answer == _SERVING else "it says that it does not serve"
        finally:
            stream.close()
        nursery.cancel_scope.cancel()
    return reason


_TRIES = {Kind.TCP: _tcp, Kind.HTTP: _http, Kind.HTTPS: _http, Kind.GRPC: _grpc}
