"""The WebSocket cases by websockets: `ws_client.py HOST:PORT` prints `case<TAB>outcome`."""

import asyncio
import hashlib
import struct
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

PATIENCE = 60
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


def ended(error):
    received = error.rcvd and f"{error.rcvd.code} {error.rcvd.reason!r}"
    return f"received {received}, sent {error.sent and error.sent.code}"


async def echoed(ws, message):
    await ws.send(message)
    got = await ws.recv()
    expect(got == message, "another message")
    return digest(got)


@case
async def text(open):
    async with open() as ws:
        return [await echoed(ws, m) for m in ("hello", "", "ü☺😈" * 1000, "x" * 125, "x" * 126, "x" * 65536)]


@case
async def binary(open):
    async with open() as ws:
        return [await echoed(ws, m) for m in (b"", b"\0\xff" * 5, bytes(range(256)) * 256)]


@case
async def without_compression(open):
    async with open(compression=None) as ws:
        return [await echoed(ws, "hello"), await echoed(ws, bytes(100_000))]


@case
async def compressed(open):
    async with open() as ws:
        extensions = [type(e).__name__ for e in ws.protocol.extensions]
        expect(extensions == ["PerMessageDeflate"], extensions)
        return [extensions, await echoed(ws, "again and again " * 10_000)]


@case
async def fragments_up(open):
    async with open() as ws:
        await ws.send([f"part {n} " for n in range(100)])
        return digest(await ws.recv())


@case
async def fragments_down(open):
    async with open() as ws:
        await ws.send("fragments 50")
        parts = [part async for part in ws.recv_streaming()]
        return digest("".join(parts))


@case
async def ping_from_the_client(open):
    async with open() as ws:
        await (await ws.ping(b"payload"))
        return "answered"


@case
async def ping_from_the_server(open):
    async with open() as ws:
        await ws.send("ping hello")
        return await ws.recv()


@case
async def ping_between_fragments(open):
    async with open() as ws:
        async def parts():
            yield "one "
            await (await ws.ping())
            yield "two"

        await ws.send(parts())
        return await ws.recv()


@case
async def large(open):
    message = bytes(range(256)) * 65536
    async with open(compression=None) as ws:
        return await echoed(ws, message)


async def server_closes(open, command):
    async with open() as ws:
        await ws.send(command)
        try:
            await ws.recv()
        except websockets.ConnectionClosed as error:
            return ended(error)
        raise AssertionError("still open")


@case
async def close_codes_from_the_server(open):
    commands = ("close 1000", "close 1001 leaving", "close 1008 policy", "close 3000", "close 4999 ü")
    return [await server_closes(open, command) for command in commands]


@case
async def close_codes_from_the_client(open):
    seen = []
    for code, reason in ((1000, ""), (1001, "leaving"), (3000, "x" * 123), (4999, "ü")):
        async with open() as ws:
            await ws.close(code, reason)
            seen.append(f"{ws.close_code} {ws.close_reason!r}")
    return seen


@case
async def broken_off(open):
    outcome = await server_closes(open, "drop")
    expect(outcome == "received None, sent None", outcome)
    return outcome


@case
async def invalid_utf8(open):
    async with open(compression=None) as ws:
        # Not with this library's own encoder, which refuses.
        ws.transport.write(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
        try:
            await ws.recv()
        except websockets.ConnectionClosed as error:
            expect(error.rcvd.code == 1007, error)
            return f"received {error.rcvd.code}"
        raise AssertionError("still open")


@case
async def too_large(open):
    async with open(compression=None) as ws:
        # The beginning of a frame of 18 MiB, more than the server takes.
        ws.transport.write(struct.pack("!BBQI", 0x82, 0xFF, 18 << 20, 0))
        try:
            await ws.recv()
        except websockets.ConnectionClosed as error:
            expect(error.rcvd.code == 1009, error)
            return f"received {error.rcvd.code}"
        raise AssertionError("still open")


@case
async def the_handshake_arrives(open):
    async with open(
        "/a/b%20c?d=e&f", origin="http://origin.test", subprotocols=["chat.v0", "chat.v1"],
        additional_headers={"X-Custom": "kept as it is"},
    ) as ws:
        await ws.send("seen")
        return f"{ws.subprotocol} {await ws.recv()}"


@case
async def a_refusal_is_told(open):
    try:
        async with open("/refuse"):
            raise AssertionError("accepted")
    except websockets.InvalidStatus as error:
        return f"{error.response.status_code} {error.response.body!r}"


@case
async def many_at_once(open):
    async def one(number):
        async with open() as ws:
            return await echoed(ws, f"message {number}")

    return digest("".join(await asyncio.gather(*(one(n) for n in range(200)))))


async def main(address):
    def open(path="/", **options):
        return connect(f"ws://{address}{path}", max_size=None, **options)

    for function in cases:
        try:
            outcome = await asyncio.wait_for(function(open), PATIENCE)
        except Exception as error:
            outcome = "FAIL " + " ".join(repr(error).split())
        print(f"{function.__name__}\t{outcome}", flush=True)


asyncio.run(main(sys.argv[1]))
