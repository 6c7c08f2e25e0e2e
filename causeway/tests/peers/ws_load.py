"""WebSocket load in rounds: `ws_load.py HOST:PORT…` reads a line with a number of seconds, has
messages echoed by connections to each address for so long, and prints `done MESSAGES CUT`, the
second being connections that it broke off, or `FAIL` and what failed."""

import asyncio
import sys
import time

from websockets.asyncio.client import connect

PATIENCE = 20
AT_ONCE = 3
MESSAGES = ["hello", "ü☺😈" * 1000, bytes(range(256)), bytes(200_000), "x" * 65536]


async def echoed(ws, message):
    await ws.send(message)
    if await ws.recv() != message:
        raise AssertionError("another message")


async def caller(address, until):
    messages = cut = 0
    while time.monotonic() < until:
        async with connect(f"ws://{address}/", max_size=None) as ws:
            for message in MESSAGES * 4:
                await asyncio.wait_for(echoed(ws, message), PATIENCE)
                messages += 1
        # Gone in the middle of a message, and without a word.
        async with connect(f"ws://{address}/", max_size=None, close_timeout=PATIENCE) as ws:
            await ws.send(bytes(200_000))
            ws.transport.abort()
            cut += 1
    return messages, cut


async def main(addresses):
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        until = time.monotonic() + float(line)
        try:
            callers = [caller(address, until) for address in addresses for _ in range(AT_ONCE)]
            counts = await asyncio.wait_for(asyncio.gather(*callers), float(line) + 2 * PATIENCE)
            messages, cut = (sum(column) for column in zip(*counts))
            print("done", messages, cut, flush=True)
        except Exception as error:
            print("FAIL", " ".join(repr(error).split()), flush=True)


asyncio.run(main(sys.argv[1:]))
