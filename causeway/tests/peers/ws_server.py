"""A WebSocket server by websockets. It echoes, but for commands:

close CODE REASON   closes so
drop, reset         ends the connection without closing, or resets it
ping PAYLOAD        pings with it, and says `pong PAYLOAD` when it was answered
fragments N         sends the message `0 1 … N-1` in as many fragments
seen                says what it saw of the handshake

`--patient` sends no heartbeats, and so never gives up who does not answer them.
"""

import asyncio
import http
import socket
import struct
import sys

import websockets
from websockets.asyncio.server import serve

SEEN = ("origin", "x-custom", "sec-websocket-protocol")


async def handle(connection):
    try:
        await serve_commands(connection)
    except websockets.ConnectionClosedError:
        pass  # The caller broke off, as it may.


async def serve_commands(connection):
    async for message in connection:
        command = message.split(" ", 2) if isinstance(message, str) else [""]
        match command:
            case ["close", code, *reason]:
                await connection.close(int(code), "".join(reason))
            case ["drop"]:
                connection.transport.abort()
            case ["reset"]:
                lingering = struct.pack("ii", 1, 0)
                connection.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, lingering
                )
                connection.transport.abort()
            case ["ping", payload]:
                await (await connection.ping(payload.encode()))
                await connection.send(f"pong {payload}")
            case ["fragments", count]:
                await connection.send([f"{n} " for n in range(int(count))])
            case ["seen"]:
                request = connection.request
                headers = [f"{name}={request.headers.get(name)}" for name in SEEN]
                await connection.send(f"{request.path} {' '.join(headers)}")
            case _:
                await connection.send(message)


def refuse(connection, request):
    if request.path == "/refuse":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not for you\n")
    return None


def select(connection, offered):
    return "chat.v1" if "chat.v1" in offered else None


async def main():
    heartbeat = {"ping_interval": None} if "--patient" in sys.argv else {}
    async with serve(
        handle, "127.0.0.1", 0, process_request=refuse, max_size=17 << 20, select_subprotocol=select, **heartbeat
    ) as server:
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
