"""One long exchange that shows whether anything of it is lost or repeated: `numbered.py ws|grpc
HOST:PORT` sends numbers to a server that sends each back, a few of them at once. For each line that it
reads it prints `passed` once a hundred more have come back; at the end of its input it ends the
exchange and prints `complete`. When the exchange ends before that, it prints `closed` and how: the
close code, or the status. A number that is not the next one is a failure."""

import asyncio
import queue
import sys
import threading

import grpc
import websockets
from websockets.asyncio.client import connect

from interop import messages, services

UNDER_WAY = 8
A_FEW = 100
PATIENCE = 100


class Closed(Exception):
    """The exchange has ended, and how."""


class WebSocket:
    """Each number is a message of text."""

    def __init__(self, address):
        self.connecting = connect(f"ws://{address}/", ping_interval=None)

    async def open(self):
        self.ws = await self.connecting

    async def send(self, number):
        try:
            await self.ws.send(str(number))
        except websockets.ConnectionClosed as error:
            raise closed(error) from error

    async def receive(self):
        try:
            return int(await self.ws.recv())
        except websockets.ConnectionClosed as error:
            raise closed(error) from error

    async def end(self):
        await self.ws.close()
        return self.ws.close_code


def closed(error):
    # RFC 6455, section 7.1.5: 1006 if there was no Close.
    return Closed(error.rcvd.code if error.rcvd else 1006)


class Grpc:
    """Each number is the length of a message."""

    def __init__(self, address):
        self.channel = grpc.aio.insecure_channel(address)

    async def open(self):
        self.call = services.InteropStub(self.channel).Bidirectional()

    async def send(self, number):
        try:
            await self.call.write(messages.Request(response_sizes=[number]))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise Closed((await self.call.code()).name) from error

    async def receive(self):
        try:
            response = await self.call.read()
        except grpc.aio.AioRpcError as error:
            raise Closed(error.code().name) from error
        if response == grpc.aio.EOF:
            raise Closed((await self.call.code()).name)
        return len(response.payload)

    async def end(self):
        await self.call.done_writing()
        if await self.call.read() != grpc.aio.EOF:
            raise AssertionError("more than was sent")
        return (await self.call.code()).name


def read_lines(asked):
    for _ in sys.stdin:
        asked.put("more")
    asked.put("end")


async def exchange(peer, asked):
    await peer.open()
    sent = received = 0
    until = None
    ending = False
    while not (ending and received == sent):
        while not ending and sent < received + UNDER_WAY:
            await peer.send(sent)
            sent += 1
        number = await peer.receive()
        if number != received:
            raise AssertionError(f"{number} instead of {received}")
        received += 1
        if received == until:
            print("passed", flush=True)
            until = None
        if until is None and not asked.empty():
            ending = asked.get() == "end"
            until = received + A_FEW
    print("complete", await peer.end(), received, flush=True)


async def main(kind, address):
    asked = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=[asked], daemon=True).start()
    peer = {"ws": WebSocket, "grpc": Grpc}[kind](address)
    try:
        await asyncio.wait_for(exchange(peer, asked), PATIENCE)
    except Closed as how:
        print("closed", how, flush=True)


asyncio.run(main(*sys.argv[1:]))
