"""One bidirectional gRPC stream of numbered messages: `grpc_numbered.py HOST:PORT` sends one every
50 ms until its standard input has a line, and prints `begun` when the first was answered and `done
COUNT` at the end, `closed STATUS` if that came before, or `FAIL` and what failed. Message N asks for an answer of N bytes, so that one
which is lost, repeated or moved is told by its length."""

import asyncio
import sys

import grpc

from interop import messages, services

PAUSE = 0.05


async def exchange(address):
    loop = asyncio.get_running_loop()
    told = loop.run_in_executor(None, sys.stdin.readline)
    async with grpc.aio.insecure_channel(address) as channel:
        call = services.InteropStub(channel).Bidirectional()

        async def write():
            count = 0
            while not told.done():
                await call.write(messages.Request(response_sizes=[count]))
                count += 1
                await asyncio.sleep(PAUSE)
            await call.done_writing()
            return count

        writing = asyncio.create_task(write())
        answers = 0
        async for response in call:
            if len(response.payload) != answers:
                raise AssertionError(f"answer {len(response.payload)} where {answers} should be")
            answers += 1
            if answers == 1:
                print("begun", flush=True)
        sent = await writing
        if sent != answers:
            raise AssertionError(f"{answers} answers to {sent} messages")
        print("done", sent, flush=True)


async def main(address):
    # Said here: the thread that reads keeps the loop from ending.
    try:
        await exchange(address)
    except grpc.aio.AioRpcError as error:
        print("closed", error.code().name, flush=True)
    except Exception as error:
        print("FAIL", " ".join(repr(error).split()), flush=True)


asyncio.run(main(sys.argv[1]))
