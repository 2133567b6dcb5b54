"""Everything that reads what came from the network is given rubbish, and messages that are almost right.

Every function and method named `*_untrusted` stands in `TARGETS`; one that is missing there fails a test. Each is tried
with bytes at random and with valid input that was cut, doubled, spliced and bent in a few places, which gets past the
first checks. What may come out is an answer or `RemoteProtocolError`, whatever the input.
"""

import importlib
import inspect
import itertools
import json
import os
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import h11
import msgpack
import pytest

import mesh
import proxy
import router
import sdk
import tunnel
from mesh.probe import parse_status_untrusted
from mesh.resolver.listing import parse_listing_untrusted
from proxy.connect import ConnectRequest
from proxy.sni import ClientHello
from proxy.socks import SocksRequest
from router.statement import Kind, Signed, Version
from router.wire import (
    Compare,
    LinkStates,
    Services,
    Versions,
    pack_compare,
    pack_entry,
    pack_pull,
    pack_versions,
    parse_entry_untrusted,
    parse_message_untrusted,
    parse_statement_untrusted,
)
from sdk.codec import JSON, MSGPACK, decode_untrusted, encode
from sdk.errors import RemoteProtocolError, TooManyRequests
from sdk.head import (
    CallHead,
    ReplyHead,
    Trailers,
    pack_call_head,
    pack_reply_head,
    pack_trailers,
    parse_call_head_untrusted,
    parse_reply_head_untrusted,
    parse_trailers_untrusted,
)
from sdk.registry import Action, Event, dnssd, kubejson
from sdk.registry.consuljson import (
    parse_agent_service_untrusted,
    parse_entries_untrusted,
    parse_index_untrusted,
    parse_instance_untrusted,
    parse_names_untrusted,
)
from sdk.registry.dnsmessage import parse_reply_untrusted, question
from sdk.registry.etcdjson import (
    parse_answer_untrusted,
    parse_number_untrusted,
    parse_page_untrusted,
    parse_refusal_untrusted,
    parse_told_untrusted,
)
from sdk.registry.kubecredential import VERSIONS as EXEC_VERSIONS
from sdk.registry.kubecredential import parse_credential_untrusted
from sdk.registry.records import parse_json_untrusted, parse_record_untrusted
from sdk.registry.remote import event_record, parse_change_untrusted, parse_records_untrusted
from sdk.types import Endpoint, Instance, Service, parse_service_untrusted, service_to_json
from sdk.wire import frame
from sdk.wire.hpack import Decoder
from sdk.wire.http1chunks import ChunkReader
from sdk.wire.http1fields import trailer_lines_untrusted
from sdk.wire.http1head import (
    content_length_untrusted,
    fields_untrusted,
    head_size_untrusted,
    host_untrusted,
    request_framing_untrusted,
    request_head_untrusted,
    response_framing_untrusted,
    response_head_untrusted,
)
from sdk.wire.http1read import read_answer_untrusted as read_http1_answer_untrusted
from sdk.wire.http1read import read_request_untrusted
from sdk.wire.http1write import write_answer_untrusted, write_interim_untrusted, write_request_untrusted
from sdk.wire.http2 import pack_settings, parse_settings_untrusted, unpad_untrusted
from sdk.wire.huffman import decode_huffman_untrusted
from sdk.wire.message import MessageReader, encode_message
from sdk.wire.registration import (
    Refused,
    Registered,
    pack_refused,
    pack_registered,
    pack_registration,
    parse_refused_untrusted,
    parse_registered_untrusted,
    parse_registration_untrusted,
)
from sdk.wire.timeout import parse_timeout_untrusted
from tests.proxy.hello import client_hello, in_records
from tests.router.network import Key, entry, links_message, node_id, services_message
from tests.sdk.port.http2 import fuzzed
from tests.tunnel.bench import KEYS, certificate, handshake
from tests.wholeports import WHOLE
from tunnel.handshake import LinkHandshake
from tunnel.identity import format_id, pack_certificate, parse_certificate_untrusted, parse_id_untrusted
from tunnel.noise import Cipher
from tunnel.transport.connect import MAX_ANSWER, read_answer_untrusted
from tunnel.transport.wsframes import WebSocketFrames

PACKAGES = (sdk, router, tunnel, proxy, mesh)

STATIC = b"s" * 32


@dataclass(frozen=True)
class Target:
    """Something that reads, and input it takes."""

    read: Callable[[bytes], object]
    valid: Sequence[bytes]
    raises: tuple[type[Exception], ...] = (RemoteProtocolError,)
    """What its docstring says it may raise."""
    samples: int = 3000
    """How many inputs it is tried with in a test: the same each time in CI, as with hypothesis."""


def untrusted() -> Iterator[str]:
    """Every function and method that reads what came from the network, as `module:name`."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if inspect.isclass(value) and value.__module__ == found.name:
                    yield from (f"{found.name}:{name}.{each}" for each in vars(value) if each.endswith("_untrusted"))
                elif name.endswith("_untrusted") and getattr(value, "__module__", "") == found.name:
                    yield f"{found.name}:{name}"


def read_messages(data: bytes) -> list[bytes]:
    reader = MessageReader()
    reader.feed(data[: len(data) // 2])
    reader.feed(data[len(data) // 2 :])
    messages = []
    while (message := reader.next_untrusted()) is not None:
        messages.append(message)
    return messages


def conversation() -> tuple[bytes, bytes]:
    """What each end of a handshake says when all goes well: dialler, acceptor."""
    dialler, acceptor = handshake(KEYS[0], dialled=True), handshake(KEYS[1], dialled=False)
    said: list[list[bytes]] = [[], []]
    while True:
        out = dialler.data_to_send(), acceptor.data_to_send()
        if not any(out):
            break
        for words, word in zip(said, out, strict=True):
            words.append(word)
        acceptor.receive_data(out[0])
        dialler.receive_data(out[1])
    dialler.accept()
    said[0].append(dialler.data_to_send())
    return b"".join(said[0]), b"".join(said[1])


def shaken(dialled: bool) -> Callable[[bytes], object]:
    """Reads bytes as the handshake of a peer. The keys are the same each time, so that mutations reach every step."""

    def read(data: bytes) -> object:
        end: LinkHandshake = handshake(KEYS[0 if dialled else 1], dialled=dialled)
        end.receive_data(data)
        end.data_to_send()
        return end.done

    return read


def read_proxy(data: bytes) -> object:
    """The answer of an HTTP proxy that was asked for a connection."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
    connection.send(h11.Request(method="CONNECT", target="a:1", headers=[("Host", "a:1")]))
    connection.send(h11.EndOfMessage())
    first, rest = data[: len(data) // 2], data[len(data) // 2 :]
    status = read_answer_untrusted(connection, first) if first else None
    return read_answer_untrusted(connection, rest) if status is None and rest else status


def read_blocks(data: bytes) -> object:
    """Two header blocks, so that the second one meets a table."""
    decoder = Decoder()
    decoder.decode_untrusted(data)
    return decoder.decode_untrusted(data)


def read_chunks(data: bytes) -> bytes:
    """A body in chunks, in two pieces."""
    reader = ChunkReader()
    body = reader.receive_untrusted(data[: len(data) // 2])
    return body if reader.done else body + reader.receive_untrusted(data[len(data) // 2 :])


def read_trailers(data: bytes) -> bytes:
    """Trailers of another node, as lines."""
    return trailer_lines_untrusted(parse_trailers_untrusted(data).metadata)


def read_id(data: bytes) -> bytes:
    return parse_id_untrusted(data.decode("latin-1"))


def value_of(data: bytes) -> object:
    """Anything that JSON or msgpack can say."""
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except Exception:
        return data


def told(message: bytes) -> list[Signed]:
    """The statements in a gossip message."""
    content = parse_message_untrusted(message)
    assert isinstance(content, LinkStates | Services)
    return [content.signed] if isinstance(content, Services) else list(content.items)


SERVICE = Service(
    name="greeter",
    metadata={"zone": "a"},
    endpoints=(Endpoint(name="Greeter.Hello"),),
    instances=(Instance(id="greeter-1", address="10.0.0.1:80", metadata={"protocol": "grpc"}),),
)
REGISTERED = Registered("greeter", "latest")
HEAD = pack_call_head(CallHead("greeter", "Greeter.Hello", metadata=("a", "b"), call_id=b"i" * 16))
REPLY = pack_reply_head(ReplyHead("application/msgpack", ("a", "b"), 5, "not found", ("c", "d")))
TRAILERS = pack_trailers(Trailers(3, "no", ("a", "b")))
OPENS = (frame.pack_open(3, b"p" * 32, 5000, HEAD, b"body"), frame.pack_open(3, b"", 0xFFFFFFFF, HEAD, b""))
HEADED = (frame.pack_headed(REPLY, b"body"), frame.pack_headed(b"", b""))
REQUESTS = (
    b"GET /a?b HTTP/1.1\r\nHost: greeter:80\r\nX-A: b\r\nConnection: x-a, close\r\n\r\n",
    b"POST http://greeter/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nMicro-Service: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n",
)
HTTP_HEAD = pack_call_head(
    CallHead("a", "/b", "http", 0, "c/d", (":method", "GET", ":authority", "a", "content-length", "5"), b"i" * 16)
)
HINTS = pack_reply_head(ReplyHead("", (":status", "103", "link", "</a>; rel=preload")))
HTTP_REPLY = pack_reply_head(ReplyHead("a/b", (":status", "200", "content-length", "5", "c", "d"), 0, "", ("e", "f")))
LINKS_TOLD = links_message(Key("a"), Key("b"), Key("c"))
SERVICES_TOLD = services_message(Key("a"), "greeter", "clock")
STATEMENTS = told(LINKS_TOLD) + told(SERVICES_TOLD)
SAID = conversation()
BY_DIALLER = Target(shaken(dialled=False), [SAID[0]])
BY_ACCEPTOR = Target(shaken(dialled=True), [SAID[1]])

MDNS_HEAD = dnssd.head_of(dnssd.pack(SERVICE), source="a" * 32, sequence=1, ttl=30, group="b" * 32, host="c" * 32)

DNS_ASKED = question(dns.name.from_text("a.example"), dns.rdatatype.SRV, extended=True)
DNS_ASKED.id = 7  # the same each time
DNS_SAID = dns.message.make_response(DNS_ASKED)
DNS_SAID.answer = [
    dns.rrset.from_text("a.example.", 5, "IN", "CNAME", "b.example."),
    dns.rrset.from_text("b.example.", 5, "IN", "SRV", "0 0 80 c.example.", "1 0 81 d.example."),
]
DNS_SAID.additional = [dns.rrset.from_text("c.example.", 5, "IN", "A", "10.0.0.1")]

KUBE_SLICES = [
    (
        b'{"metadata":{"namespace":"n","name":"s","labels":{"kubernetes.io/service-name":"a","micro.mu/version":"2"}},'
        b'"ports":[{"name":"grpc","port":80}],"endpoints":[{"addresses":["h"],"targetRef":{"name":"p"}}]}'
    ),
    (
        b'{"metadata":{"namespace":"n","name":"s","labels":{"micro.mu/name":"a"}},"addressType":"IPv6",'
        b'"ports":[{"port":80,"appProtocol":"http"}],"endpoints":[{"addresses":["::1"],"conditions":{"ready":true}}]}'
    ),
]

TARGETS: dict[str, Target] = {
    "mesh.probe:parse_status_untrusted": Target(parse_status_untrusted, [b"HTTP/1.1 200 OK", b"HTTP/1.0 503"]),
    "mesh.resolver.listing:parse_listing_untrusted": Target(
        parse_listing_untrusted,
        [b'{"nodes": [{"address": "10.0.0.1:8085"}]}', b'["a:1", "ws://b:2/way"]', b"# ours\na:1\n[::1]:2\n"],
    ),
    "proxy.connect:ConnectRequest.receive_untrusted": Target(
        lambda data: ConnectRequest().receive_untrusted(data),
        [
            b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n",
            b"CONNECT [::1]:1 HTTP/1.0\r\nMicro-Router: far\r\nContent-Length: 3\r\n\r\nabc",
            b"CONNECT db:5432 HTTP/1.1\r\nHost: db\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n",
        ],
    ),
    "proxy.socks:SocksRequest.receive_untrusted": Target(
        lambda data: SocksRequest(lambda token: "" if token == b"secret" else "wrong").receive_untrusted(data),
        [
            b"\x05\x01\x02\x01\x03any\x06secret\x05\x01\x00\x03\x02db\x15\x38",
            b"\x05\x02\x00\x02\x01\x00\x06secret\x05\x01\x00\x03\x05h\xc3\xa9lo\x00\x00behind",
        ],
    ),
    "proxy.sni:ClientHello.receive_untrusted": Target(
        lambda data: ClientHello(lambda name: name if name == "web" else "").receive_untrusted(data),
        [client_hello("web"), client_hello("web.example.com") + b"behind", in_records(client_hello("db")[5:], 40)],
    ),
    "sdk.codec:decode_untrusted": Target(
        lambda data: decode_untrusted(JSON if data[:1] == b"{" else MSGPACK, data),
        [encode(kind, {"a": [1, 2.5, None, "y"]}) for kind in (JSON, MSGPACK)],
    ),
    "sdk.head:parse_call_head_untrusted": Target(parse_call_head_untrusted, [HEAD]),
    "sdk.head:parse_reply_head_untrusted": Target(parse_reply_head_untrusted, [REPLY]),
    "sdk.head:parse_trailers_untrusted": Target(parse_trailers_untrusted, [TRAILERS]),
    "sdk.registry.consuljson:parse_agent_service_untrusted": Target(
        parse_agent_service_untrusted, [b'{"Service":"a","Tags":["v-00"],"Address":"h","Port":1}']
    ),
    "sdk.registry.consuljson:parse_entries_untrusted": Target(parse_entries_untrusted, [b"[{}]"]),
    "sdk.registry.consuljson:parse_instance_untrusted": Target(
        lambda data: parse_instance_untrusted(decode_untrusted(JSON, data)),
        [
            b'{"Service":{"ID":"1","Service":"a","Tags":["v=1","t={\\"a\\":\\"b\\"}"],"Address":"h","Port":1}}',
            b'{"Node":{"Address":"h"},"Service":{"ID":"1","Service":"a%25","Meta":{"version":"2"},"Port":1}}',
            b'{"Service":{"ID":"1","Service":"a","Address":"h","Port":1},"Checks":[{"Status":"critical"}]}',
            b'{"Service":{"ID":"1","Service":"a","Tags":["v-789c33020000330033","e-"],"Address":"::1","Port":1}}',
        ],
    ),
    "sdk.registry.consuljson:parse_index_untrusted": Target(
        lambda data: parse_index_untrusted(data.decode("latin-1")), [b"17"]
    ),
    "sdk.registry.consuljson:parse_names_untrusted": Target(parse_names_untrusted, [b'{"a":[],"consul":[]}']),
    "sdk.registry.dnsmessage:parse_reply_untrusted": Target(
        lambda data: parse_reply_untrusted(data, DNS_ASKED), [DNS_SAID.to_wire()]
    ),
    "sdk.registry.etcdjson:parse_answer_untrusted": Target(parse_answer_untrusted, [b'{"ID":"5","TTL":"1"}']),
    "sdk.registry.etcdjson:parse_number_untrusted": Target(
        lambda data: parse_number_untrusted(data.decode("latin-1")), [b"123", b"-4"]
    ),
    "sdk.registry.etcdjson:parse_page_untrusted": Target(
        parse_page_untrusted,
        [b'{"header":{"revision":"2"},"kvs":[{"key":"L2E=","mod_revision":"2","value":"eA=="}],"more":true}'],
    ),
    "sdk.registry.etcdjson:parse_refusal_untrusted": Target(
        parse_refusal_untrusted,
        [b'{"error":"lost","message":"lost","code":5}', b'{"error":{"grpc_code":14,"message":"gone"}}'],
    ),
    "sdk.registry.etcdjson:parse_told_untrusted": Target(
        parse_told_untrusted,
        [
            b'{"result":{"events":[{"type":"DELETE","kv":{"key":"L2E=","mod_revision":"3"}}]}}',
            b'{"result":{"canceled":true,"compact_revision":"2"}}',
            b'{"error":{"grpc_code":14,"message":"gone"}}',
        ],
    ),
    "sdk.registry.kubecredential:parse_credential_untrusted": Target(
        lambda data: parse_credential_untrusted(data, EXEC_VERSIONS[0]),
        [
            (
                b'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
                b'"status":{"token":"t","expirationTimestamp":"2026-01-01T00:00:00Z"}}'
            ),
        ],
    ),
    "sdk.registry.kubejson:parse_page_untrusted": Target(
        kubejson.parse_page_untrusted,
        [b'{"metadata":{"resourceVersion":"5","continue":"x"},"items":[{}]}'],
    ),
    "sdk.registry.kubejson:parse_path_untrusted": Target(
        lambda data: kubejson.parse_path_untrusted(decode_untrusted(JSON, data)), KUBE_SLICES
    ),
    "sdk.registry.kubejson:parse_slice_untrusted": Target(
        lambda data: kubejson.parse_slice_untrusted(decode_untrusted(JSON, data)), KUBE_SLICES
    ),
    "sdk.registry.kubejson:parse_told_untrusted": Target(
        kubejson.parse_told_untrusted,
        [
            b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"5"}}}',
            b'{"type":"ERROR","object":{"code":410,"message":"too old"}}',
        ],
    ),
    "sdk.registry.records:parse_json_untrusted": Target(parse_json_untrusted, [b'{"a": [1, "b", null]}', b'"text"']),
    "sdk.registry.records:parse_record_untrusted": Target(
        lambda data: parse_record_untrusted(data.decode(errors="surrogateescape")),
        [json.dumps(service_to_json(SERVICE)).encode()],
    ),
    "sdk.registry.dnssd:parse_head_untrusted": Target(dnssd.parse_head_untrusted, [dnssd.head_to_text(MDNS_HEAD)]),
    "sdk.registry.dnssd:parse_part_untrusted": Target(dnssd.parse_part_untrusted, dnssd.parts_of(dnssd.pack(SERVICE))),
    "sdk.registry.dnssd:parse_record_untrusted": Target(dnssd.parse_record_untrusted, [dnssd.pack(SERVICE)]),
    "sdk.registry.dnssd:unpack_untrusted": Target(
        lambda data: dnssd.unpack_untrusted(
            dnssd.parse_head_untrusted(data),
            [],
            dnssd.label((SERVICE.name, SERVICE.version, SERVICE.instances[0].id), "b" * 32),
        ),
        [dnssd.head_to_text(MDNS_HEAD)],
    ),
    "sdk.registry.remote:parse_change_untrusted": Target(
        lambda data: parse_change_untrusted(value_of(data)),
        [msgpack.packb(event_record(Event(action=Action.UPDATE, service=SERVICE)))],
    ),
    "sdk.registry.remote:parse_records_untrusted": Target(
        lambda data: parse_records_untrusted(value_of(data)),
        [msgpack.packb({"services": [service_to_json(SERVICE), None]})],
    ),
    "sdk.types:parse_service_untrusted": Target(
        lambda data: parse_service_untrusted(value_of(data)), [msgpack.packb(service_to_json(SERVICE))]
    ),
    "sdk.wire.frame:open_layout_untrusted": Target(frame.open_layout_untrusted, OPENS),
    "sdk.wire.frame:split_open_untrusted": Target(frame.split_open_untrusted, OPENS),
    "sdk.wire.frame:split_headed_untrusted": Target(frame.split_headed_untrusted, HEADED),
    "sdk.wire.frame:body_size_untrusted": Target(
        lambda data: frame.body_size_untrusted(frame.DATA, frame.TRAILERS, data), HEADED
    ),
    "sdk.wire.frame:parse_u32_untrusted": Target(frame.parse_u32_untrusted, [frame.pack_u32(65536)]),
    "sdk.wire.frame:parse_reset_untrusted": Target(
        frame.parse_reset_untrusted, [frame.pack_reset(frame.Reset(14, frame.Fate.NOT_REACHED, "gone", b"e" * 32))]
    ),
    "sdk.wire.frame:parse_hello_untrusted": Target(
        frame.parse_hello_untrusted, [frame.pack_hello(frame.Hello(1, "node", 10_000))]
    ),
    "sdk.wire.hpack:Decoder.decode_untrusted": Target(
        read_blocks,
        [bytes.fromhex("828684410f7777772e6578616d706c652e636f6d"), bytes.fromhex("488264025885aec3771a4bbebf")],
    ),
    "sdk.wire.http1chunks:ChunkReader.receive_untrusted": Target(
        read_chunks, [b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-A: b\r\n\r\nrest", b"0\r\n\r\n"]
    ),
    "sdk.wire.http1fields:trailer_lines_untrusted": Target(read_trailers, [TRAILERS]),
    "sdk.wire.http1head:content_length_untrusted": Target(
        lambda data: content_length_untrusted(data.decode("latin-1")), [b"5"]
    ),
    "sdk.wire.http1head:fields_untrusted": Target(
        lambda data: fields_untrusted(data.decode("latin-1")), [b"A: b\r\nC:\r\n"]
    ),
    "sdk.wire.http1head:head_size_untrusted": Target(head_size_untrusted, [*REQUESTS, b"GET / HTTP/1.1\r\nHo"]),
    "sdk.wire.http1head:host_untrusted": Target(lambda data: host_untrusted(request_head_untrusted(data)), REQUESTS),
    "sdk.wire.http1head:request_framing_untrusted": Target(
        lambda data: request_framing_untrusted(request_head_untrusted(data)), REQUESTS
    ),
    "sdk.wire.http1head:request_head_untrusted": Target(request_head_untrusted, REQUESTS),
    "sdk.wire.http1head:response_framing_untrusted": Target(
        lambda data: response_framing_untrusted(response_head_untrusted(data), "GET"), ANSWERS
    ),
    "sdk.wire.http1head:response_head_untrusted": Target(response_head_untrusted, ANSWERS),
    "sdk.wire.http1read:read_answer_untrusted": Target(lambda data: read_http1_answer_untrusted(data, "GET"), ANSWERS),
    "sdk.wire.http1read:read_request_untrusted": Target(
        lambda data: read_request_untrusted(data, b"for=1.1.1.1;proto=http"), REQUESTS
    ),
    "sdk.wire.timeout:parse_timeout_untrusted": Target(
        lambda data: parse_timeout_untrusted(data.decode("latin-1")), [b"500m", b"99999999H"]
    ),
    "sdk.wire.http1write:write_answer_untrusted": Target(write_answer_untrusted, [HTTP_REPLY]),
    "sdk.wire.http1write:write_interim_untrusted": Target(write_interim_untrusted, [HINTS]),
    "sdk.wire.http1write:write_request_untrusted": Target(write_request_untrusted, [HTTP_HEAD]),
    "sdk.wire.http2:parse_settings_untrusted": Target(
        parse_settings_untrusted, [pack_settings({1: 4096, 2: 0, 3: 100, 4: 65536, 5: 16384, 6: 1000, 99: 1})]
    ),
    "sdk.wire.http2:unpad_untrusted": Target(unpad_untrusted, [b"\x02body\0\0"]),
    "sdk.wire.huffman:decode_huffman_untrusted": Target(decode_huffman_untrusted, [bytes.fromhex("a8eb10649cbf")]),
    "sdk.wire.registration:parse_registration_untrusted": Target(
        lambda data: parse_registration_untrusted(data, "attached/a"), [pack_registration(SERVICE)]
    ),
    "sdk.wire.registration:parse_registered_untrusted": Target(
        parse_registered_untrusted, [pack_registered(REGISTERED)]
    ),
    "sdk.wire.registration:parse_refused_untrusted": Target(
        parse_refused_untrusted, [pack_refused(Refused(REGISTERED, 7, "no"))]
    ),
    "sdk.wire.message:MessageReader.next_untrusted": Target(
        read_messages,
        [encode_message(b"one") + encode_message(b"") + encode_message(b"three" * 9)],
        (RemoteProtocolError, TooManyRequests),
    ),
    "router.wire:parse_message_untrusted": Target(
        parse_message_untrusted,
        [
            LINKS_TOLD,
            SERVICES_TOLD,
            pack_compare(Compare(bytes(32), b"r" * 32)),
            pack_versions(Versions(frozenset(Kind), True, ((Kind.SERVICES, b"o" * 16, Version(1, 2, b"m" * 8)),))),
            pack_pull([(Kind.LINK_STATE, b"o" * 16, (3, 4))]),
        ],
    ),
    "router.wire:parse_statement_untrusted": Target(
        lambda data: parse_statement_untrusted(Signed(data, b""), node_id),
        [signed.statement for signed in STATEMENTS],
    ),
    "router.wire:parse_entry_untrusted": Target(parse_entry_untrusted, [pack_entry(entry("greeter"))]),
    "tunnel.transport.wsframes:WebSocketFrames.receive_untrusted": Target(
        lambda data: WebSocketFrames(client=True, mask=lambda: bytes(4)).receive_untrusted(data),
        [b"\x02\x03one\x89\x00\x80\x03two", b"\x82\x7e\x00\x80" + bytes(128), b"\x88\x02\x03\xe8"],
    ),
    "tunnel.transport.connect:read_answer_untrusted": Target(
        read_proxy,
        [
            b"HTTP/1.1 200 Connection established\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno",
        ],
    ),
    "tunnel.handshake:LinkHandshake._read_preface_untrusted": BY_DIALLER,
    "tunnel.handshake:LinkHandshake._read_untrusted": BY_DIALLER,
    "tunnel.handshake:LinkHandshake._read_third_untrusted": BY_DIALLER,
    "tunnel.handshake:LinkHandshake._open_untrusted": BY_ACCEPTOR,
    "tunnel.noise:Handshake.read_message_untrusted": BY_DIALLER,
    "tunnel.noise:_Symmetric.open_untrusted": BY_ACCEPTOR,
    "tunnel.noise:Cipher.open_untrusted": Target(
        lambda data: Cipher(b"k" * 32).open_untrusted(data), [Cipher(b"k" * 32).seal(b"record")]
    ),
    "tunnel.identity:parse_id_untrusted": Target(read_id, [format_id(b"0123456789abcdef").encode()]),
    "tunnel.identity:parse_certificate_untrusted": Target(
        lambda data: parse_certificate_untrusted(data, STATIC),
        [pack_certificate(KEYS[0], certificate(KEYS[0], name="anna", addresses=("a:1",)), STATIC)],
    ),
}

TARGETS |= {f"sdk.port.http2.{name}": Target(read, valid) for read, valid, names in fuzzed.TARGETS for name in names}

ALL = TARGETS | {name: Target(read, valid, samples=samples) for name, read, valid, samples in WHOLE}
"""Functions, and whole ports and nodes."""

AWKWARD = (b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8,
           b"\xd3\x80" + b"\0" * 7, b"\xcb\x7f\xf0" + b"\0" * 6, b"\xa1\xff", b"\xc0", b"\x90", b"\x80", b"\x91" * 600,
           b"\xd6\xff\0\0\0\0", b"\0" * 64, b"[" * 600, b'{"a":' * 300)  # fmt: skip
"""Nesting without end, lengths beyond all memory, numbers out of range, text that is none."""


def bent(random: Random, valid: Sequence[bytes]) -> bytes:
    """A valid input after a few accidents."""
    data = bytearray(random.choice(valid))
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        until = min(len(data), at + random.randint(1, 40))
        accident = random.randint(0, 5)
        if accident == 0 and at < len(data):
            data[at] ^= random.randint(1, 255)
        elif accident == 1:
            del data[at:until]
        elif accident == 2:
            data[at:at] = data[at:until]
        elif accident == 3:
            data[at:at] = random.randbytes(random.randint(0, 20))
        elif accident == 4:
            data[at : at + random.randint(0, 9)] = random.choice(AWKWARD)
        else:
            del data[at:]
    return bytes(data)


def check(target: Target, data: bytes) -> None:
    try:
        target.read(data)
    except target.raises:
        pass
    except Exception as error:
        error.add_note(f"It was given {data!r}")
        raise


def test_nothing_that_reads_the_network_is_left_out() -> None:
    found = set(untrusted())
    assert found == set(TARGETS), f"not tried: {found - set(TARGETS)}; gone: {set(TARGETS) - found}"


@pytest.mark.parametrize("name", ALL)
def test_valid_input_is_read(name: str) -> None:
    for data in ALL[name].valid:
        ALL[name].read(data)


@pytest.mark.parametrize("name", ALL)
def test_rubbish_and_near_misses_raise_nothing_but_what_is_documented(name: str) -> None:
    # Not by hypothesis, which takes 2 ms for each input: these are simple enough to be understood as they are.
    target, random = ALL[name], Random(name if os.environ.get("CI") == "true" else None)
    for number in range(target.samples):
        data = bent(random, target.valid) if number % 3 else random.randbytes(random.randint(0, 300))
        check(target, data)


@pytest.mark.parametrize("name", ALL)
def test_what_is_known_to_be_awkward_does_so_neither(name: str) -> None:
    target = ALL[name]
    for data, sample in itertools.product(AWKWARD, (b"", *target.valid)):
        for at in {0, 1, 2, len(sample) // 2, len(sample)}:
            check(target, sample[:at] + data + sample[at:])
            check(target, sample[:at] + data)
