"""The WebSocket cases over HTTP/2 (RFC 8441) by h2 and wsproto: `ws_http2_client.py HOST:PORT`
prints `case<TAB>outcome`. The server is `ws_server.py`, behind something that speaks HTTP/2."""

import hashlib
import socket
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from wsproto import events
from wsproto.connection import Connection, ConnectionType
from wsproto.extensions import PerMessageDeflate

PATIENCE = 20
cases = []


def case(function):
    cases.append(function)
    return function


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def digest(message):
    message = message.encode() if isinstance(message, str) else message
    return f"{len(message)} {hashlib.sha256(message).hexdigest()[:16]}"


class Caller:
    """One connection, and the WebSockets on it."""

    def __init__(self, address):
        self.address = address
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.streams = {}
        self.settled = False
        while not self.settled:
            self.turn()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def turn(self):
        """Sends what there is, and waits for something to arrive."""
        self.flush()
        data = self.socket.recv(65536)
        expect(data, "the connection has ended")
        for event in self.http.receive_data(data):
            self.settled |= isinstance(event, RemoteSettingsChanged)
            stream = self.streams.get(getattr(event, "stream_id", None))
            if isinstance(event, DataReceived):
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if stream:
                stream.handle(event)
        self.flush()

    def open(self, path="/", headers=(), extensions=()):
        ws = WebSocket(self, path, headers, extensions)
        while ws.status is None:
            self.turn()
        ws.begin()
        return ws


class WebSocket:
    """One stream of a connection."""

    def __init__(self, caller, path, headers, extensions):
        self.caller = caller
        self.offered = extensions
        self.status = self.fields = self.protocol = None
        self.ended = ""
        self.body = b""
        self.id = caller.http.get_next_available_stream_id()
        caller.streams[self.id] = self
        caller.http.send_headers(self.id, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
            (":path", path), (":authority", caller.address), ("sec-websocket-version", "13"),
            *[("sec-websocket-extensions", f"{e.name}; {e.offer()}") for e in extensions],
            *headers,
        ])

    def handle(self, event):
        if isinstance(event, ResponseReceived):
            self.fields = dict(event.headers)
            self.status = self.fields[":status"]
        elif isinstance(event, DataReceived) and self.protocol:
            # wsproto takes nothing after a close, not even nothing.
            if event.data:
                self.protocol.receive_data(event.data)
        elif isinstance(event, DataReceived):
            self.body += event.data
        elif isinstance(event, StreamEnded):
            self.ended = "ended"
        elif isinstance(event, StreamReset):
            # After the end it only says that no more of the request is wanted (RFC 9113 §8.1).
            self.ended = self.ended or f"reset {ErrorCodes(event.error_code).name}"

    def begin(self):
        if self.status != "200":
            return
        # These belong to the upgrade of HTTP/1.1 (RFC 8441 §5).
        for field in ("sec-websocket-accept", "upgrade", "connection"):
            expect(field not in self.fields, self.fields)
        agreed = self.fields.get("sec-websocket-extensions", "")
        for extension in self.offered:
            if agreed:
                extension.finalize(agreed)
        self.protocol = Connection(ConnectionType.CLIENT, [e for e in self.offered if e.enabled()])
        if self.body:
            self.protocol.receive_data(self.body)

    def send(self, event):
        data = self.protocol.send(event)
        http = self.caller.http
        while data:
            room = min(http.local_flow_control_window(self.id), http.max_outbound_frame_size)
            if room <= 0:
                self.caller.turn()
                continue
            http.send_data(self.id, data[:room])
            data = data[room:]
            self.caller.flush()

    def next(self):
        """The next event, a message in one piece; None at the end."""
        pieces = []
        while True:
            for event in self.protocol.events():
                if isinstance(event, events.Ping):
                    self.send(event.response())
                elif isinstance(event, events.Message):
                    pieces.append(event.data)
                    if event.message_finished:
                        return "".join(pieces) if isinstance(event.data, str) else b"".join(map(bytes, pieces))
                else:
                    return event
            if self.ended:
                return None
            self.caller.turn()

    def echoed(self, message):
        self.send(events.Message(data=message))
        got = self.next()
        expect(got == message, "another message")
        return digest(got)

    def until_ended(self):
        while not self.ended:
            self.caller.turn()
        return self.ended


@case
def extended_connect_is_offered(caller):
    return caller.http.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]


@case
def text(caller):
    ws = caller.open()
    return [ws.echoed(m) for m in ("hello", "", "ü☺😈" * 1000, "x" * 125, "x" * 126, "x" * 65536)]


@case
def binary(caller):
    ws = caller.open()
    return [ws.echoed(m) for m in (b"", b"\0\xff" * 5, bytes(range(256)) * 256)]


@case
def large(caller):
    ws = caller.open()
    return [ws.echoed(bytes(range(256)) * 4096), ws.echoed("0123456789abcdef" * 65536), ws.echoed(bytes(16 << 20))]


@case
def fragments(caller):
    ws = caller.open()
    for number in range(100):
        ws.send(events.TextMessage(data=f"part {number} ", message_finished=number == 99))
    up = ws.next()
    expect(up == "".join(f"part {n} " for n in range(100)), up)
    ws.send(events.TextMessage(data="fragments 50"))
    return [digest(up), digest(ws.next())]


@case
def compressed(caller):
    ws = caller.open(extensions=[PerMessageDeflate()])
    agreed = ws.fields["sec-websocket-extensions"]
    expect(agreed.startswith("permessage-deflate"), agreed)
    return [agreed, ws.echoed("again and again " * 10_000), ws.echoed(b"binary" * 10_000)]


@case
def pings(caller):
    ws = caller.open()
    ws.send(events.Ping(payload=b"payload"))
    pong = ws.next()
    expect(isinstance(pong, events.Pong) and bytes(pong.payload) == b"payload", pong)
    ws.send(events.TextMessage(data="ping hello"))
    said = ws.next()
    expect(said == "pong hello", said)
    return said


@case
def close_codes_from_the_server(caller):
    seen = []
    for code, reason in ((1000, ""), (1001, "leaving"), (1008, "policy"), (3000, ""), (4999, "ü")):
        ws = caller.open()
        ws.send(events.TextMessage(data=f"close {code} {reason}".strip()))
        close = ws.next()
        expect((close.code, close.reason or "") == (code, reason), close)
        ws.send(close.response())
        seen.append(f"{close.code} {close.reason!r}, {ws.until_ended()}")
    expect(all(one.endswith(", ended") for one in seen), seen)
    return seen


@case
def close_codes_from_the_client(caller):
    seen = []
    for code, reason in ((1000, None), (1001, "leaving"), (3000, "x" * 123), (4999, "ü")):
        ws = caller.open()
        ws.send(events.CloseConnection(code=code, reason=reason))
        close = ws.next()
        expect((close.code, close.reason or None) == (code, reason), close)
        seen.append(f"{close.code}, {ws.until_ended()}")
    expect(all(one.endswith(", ended") for one in seen), seen)
    return seen


@case
def broken_off(caller):
    seen = []
    for command in ("drop", "reset"):
        ws = caller.open()
        ws.send(events.TextMessage(data=command))
        expect(ws.next() is None, "something was said")
        seen.append(ws.ended)
    # The end of TCP is END_STREAM, its reset RST_STREAM with CANCEL (RFC 8441 §5).
    expect(seen == ["ended", "reset CANCEL"], seen)
    return seen


@case
def too_large(caller):
    ws = caller.open()
    # The beginning of a frame of 18 MiB, more than the server takes.
    ws.caller.http.send_data(ws.id, b"\x82\xff" + (18 << 20).to_bytes(8, "big") + bytes(4))
    close = ws.next()
    expect(close.code == 1009, close)
    return close.code


@case
def the_handshake_arrives(caller):
    ws = caller.open("/a/b%20c?d=e&f", [
        ("origin", "http://origin.test"), ("x-custom", "kept as it is"),
        ("sec-websocket-protocol", "chat.v0, chat.v1"),
    ])
    ws.send(events.TextMessage(data="seen"))
    seen = f"{ws.fields['sec-websocket-protocol']} {ws.next()}"
    expected = (
        "chat.v1 /a/b%20c?d=e&f origin=http://origin.test x-custom=kept as it is "
        "sec-websocket-protocol=chat.v0, chat.v1"
    )
    expect(seen == expected, seen)
    return seen


@case
def a_refusal_is_told(caller):
    ws = caller.open("/refuse")
    ended = ws.until_ended()
    told = f"{ws.status} {ws.body!r} {ended}"
    expect(told == "403 b'not for you\\n' ended", told)
    return told


@case
def many_on_one_connection(caller):
    sockets = [caller.open() for _ in range(100)]
    for number, ws in enumerate(sockets):
        ws.send(events.TextMessage(data=f"message {number}"))
    got = [ws.next() for ws in reversed(sockets)]
    expect(got == [f"message {n}" for n in reversed(range(100))], got)
    return len(got)


for function in cases:
    try:
        with Caller(sys.argv[1]) as caller:
            outcome = function(caller)
    except Exception as error:
        outcome = "FAIL " + " ".join(repr(error).split())
    print(f"{function.__name__}\t{outcome}", flush=True)
