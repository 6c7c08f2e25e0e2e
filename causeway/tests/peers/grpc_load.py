"""gRPC load in rounds: `grpc_load.py HOST:PORT…` reads a line with a number of seconds, calls by a
channel of its own to each address for so long, closes them, and prints `done CALLS CANCELLED`, or
`FAIL` and what failed."""

import asyncio
import sys
import time

import grpc

from interop import messages, services

PATIENCE = 20


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


async def unary(stub):
    response = await stub.Unary(messages.Request(payload=bytes(1000), response_size=3000), timeout=PATIENCE)
    expect(response.payload == bytes(3000), "another payload")


async def large_unary(stub):
    response = await stub.Unary(
        messages.Request(payload=bytes(1 << 20), response_size=1 << 20), timeout=PATIENCE
    )
    expect(response.payload == bytes(1 << 20), "another payload")


async def client_stream(stub):
    async def requests():
        for size in (27182, 8, 1828, 45904):
            yield messages.Request(payload=bytes(size))

    total = await stub.ClientStream(requests(), timeout=PATIENCE)
    expect((total.bytes, total.messages) == (74922, 4), total)


async def server_stream(stub):
    sizes = [31415, 9, 2653, 58979]
    call = stub.ServerStream(messages.Request(response_sizes=sizes, pause_ms=5), timeout=PATIENCE)
    got = [len(response.payload) async for response in call]
    expect(got == sizes, got)


async def ping_pong(stub):
    call = stub.Bidirectional(timeout=PATIENCE)
    for size in (27182, 8, 1828, 45904):
        await call.write(messages.Request(payload=bytes(size), response_sizes=[size]))
        expect(len((await call.read()).payload) == size, "another payload")
    await call.done_writing()
    expect(await call.read() == grpc.aio.EOF, "more than was asked for")


async def cancelled_stream(stub):
    call = stub.ServerStream(messages.Request(response_sizes=[1 << 16] * 1000), timeout=PATIENCE)
    await call.read()
    call.cancel()
    expect(await call.code() == grpc.StatusCode.CANCELLED, "not cancelled")


async def out_of_time(stub):
    try:
        await stub.Unary(messages.Request(pause_ms=60_000), timeout=0.1)
    except grpc.aio.AioRpcError as error:
        expect(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error)
        return
    raise AssertionError("answered")


COMPLETE = [unary, unary, large_unary, client_stream, server_stream, ping_pong]
CUT = [cancelled_stream, out_of_time]


async def again_and_again(case, stub, until):
    count = 0
    while time.monotonic() < until:
        await case(stub)
        count += 1
    return count


async def load(address, until):
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = services.InteropStub(channel)
        counts = await asyncio.gather(*(again_and_again(case, stub, until) for case in COMPLETE + CUT))
        return sum(counts[: len(COMPLETE)]), sum(counts[len(COMPLETE) :])


async def main(addresses):
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        until = time.monotonic() + float(line)
        try:
            loads = asyncio.gather(*(load(address, until) for address in addresses))
            loads = await asyncio.wait_for(loads, float(line) + 2 * PATIENCE)
            complete, cut = (sum(column) for column in zip(*loads))
            print("done", complete, cut, flush=True)
        except Exception as error:
            print("FAIL", " ".join(repr(error).split()), flush=True)


asyncio.run(main(sys.argv[1:]))
