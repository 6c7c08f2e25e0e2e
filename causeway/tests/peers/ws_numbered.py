"""One WebSocket of numbered messages, echoed: `ws_numbered.py HOST:PORT` sends one every 50 ms
until its standard input has a line, and prints `begun` when the first was echoed and `done COUNT` at
the end, `closed CODE` if that came before, or `FAIL` and what failed. It has no heartbeat of its own that would give up first."""

import asyncio
import sys

import websockets
from websockets.asyncio.client import connect

PAUSE = 0.05


async def exchange(address):
    loop = asyncio.get_running_loop()
    told = loop.run_in_executor(None, sys.stdin.readline)
    async with connect(f"ws://{address}/", ping_interval=None) as ws:

        async def write():
            count = 0
            while not told.done():
                await ws.send(f"number {count}")
                count += 1
                await asyncio.sleep(PAUSE)
            await ws.send("the end")
            return count

        writing = asyncio.create_task(write())
        echoes = 0
        while (message := await ws.recv()) != "the end":
            if message != f"number {echoes}":
                raise AssertionError(f"{message!r} where number {echoes} should be")
            echoes += 1
            if echoes == 1:
                print("begun", flush=True)
        sent = await writing
        if sent != echoes:
            raise AssertionError(f"{echoes} echoes of {sent} messages")
        print("done", sent, flush=True)


async def main(address):
    # Said here: the thread that reads keeps the loop from ending.
    try:
        await exchange(address)
    except websockets.ConnectionClosed as error:
        # RFC 6455, section 7.1.5: 1006 if there was no Close.
        print("closed", error.rcvd.code if error.rcvd else 1006, flush=True)
    except Exception as error:
        print("FAIL", " ".join(repr(error).split()), flush=True)


asyncio.run(main(sys.argv[1]))
