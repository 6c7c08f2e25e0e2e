"""The gRPC interop cases by grpcio: `grpc_client.py HOST:PORT` prints `case<TAB>outcome`.

The cases are those of the gRPC project's interop test descriptions, and some more."""

import asyncio
import hashlib
import os
import sys

import grpc

from interop import messages, services

PATIENCE = 60
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

cases = []


def case(function):
    cases.append(function)
    return function


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def failed(error):
    """What is to be seen of a call that failed."""
    return f"{error.code().name} {error.details()!r}"


@case
async def empty_unary(stub):
    expect(await stub.Empty(messages.Nothing()) == messages.Nothing(), "not empty")
    return "ok"


@case
async def large_unary(stub):
    request = messages.Request(payload=bytes(271828), response_size=314159)
    response = await stub.Unary(request)
    expect(response.payload == bytes(314159), "another payload")
    return f"{len(response.payload)} bytes"


@case
async def gzip_unary(stub):
    request = messages.Request(payload=bytes(271828), response_size=100)
    response = await stub.Unary(request, compression=grpc.Compression.Gzip)
    return f"{len(response.payload)} bytes"


@case
async def client_streaming(stub):
    async def requests():
        for size in (27182, 8, 1828, 45904):
            yield messages.Request(payload=bytes(size))

    total = await stub.ClientStream(requests())
    expect((total.bytes, total.messages) == (74922, 4), total)
    return f"{total.bytes} bytes in {total.messages}"


@case
async def server_streaming(stub):
    sizes = [31415, 9, 2653, 58979]
    got = [len(r.payload) async for r in stub.ServerStream(messages.Request(response_sizes=sizes))]
    expect(got == sizes, got)
    return str(got)


@case
async def server_push_with_pauses(stub):
    request = messages.Request(response_sizes=[1] * 5, pause_ms=200)
    got = [len(r.payload) async for r in stub.ServerStream(request)]
    expect(got == [1] * 5, got)
    return str(got)


@case
async def ping_pong(stub):
    call = stub.Bidirectional()
    got = []
    for request, response in ((27182, 31415), (8, 9), (1828, 2653), (45904, 58979)):
        await call.write(messages.Request(payload=bytes(request), response_sizes=[response]))
        got.append(len((await call.read()).payload))
    await call.done_writing()
    expect(await call.read() == grpc.aio.EOF, "more than was asked for")
    expect(got == [31415, 9, 2653, 58979], got)
    return f"{got} {(await call.code()).name}"


@case
async def half_closed_bidirectional(stub):
    """All requests and their end come before the first answer is read."""
    call = stub.Bidirectional()
    for size in (10, 20, 30):
        await call.write(messages.Request(response_sizes=[size], pause_ms=50))
    await call.done_writing()
    got = [len(r.payload) async for r in call]
    expect(got == [10, 20, 30], got)
    return f"{got} {(await call.code()).name}"


@case
async def empty_stream(stub):
    call = stub.Bidirectional()
    await call.done_writing()
    expect(await call.read() == grpc.aio.EOF, "an answer to nothing")
    return (await call.code()).name


@case
async def custom_metadata(stub):
    binary = b"\x0a\x0b\x0a\x0b\x0a\x0b\x00\xff"
    sent = (("x-echo-initial", "test initial, metadata"), ("x-echo-trailing-bin", binary))
    call = stub.Unary(messages.Request(response_size=3), metadata=sent)
    await call
    initial = dict(await call.initial_metadata()).get("x-echo-initial")
    trailing = dict(await call.trailing_metadata()).get("x-echo-trailing-bin")
    expect((initial, trailing) == (sent[0][1], binary), (initial, trailing))
    call = stub.Bidirectional(metadata=sent)
    await call.write(messages.Request(response_sizes=[3]))
    await call.done_writing()
    await call.read()
    expect(await call.read() == grpc.aio.EOF, "more than was asked for")
    initial = dict(await call.initial_metadata()).get("x-echo-initial")
    trailing = dict(await call.trailing_metadata()).get("x-echo-trailing-bin")
    expect((initial, trailing) == (sent[0][1], binary), (initial, trailing))
    return f"{initial} {trailing!r}"


@case
async def status_code_and_message(stub):
    fail = messages.Status(code=2, message="test status message")
    seen = []
    try:
        await stub.Unary(messages.Request(fail=fail))
    except grpc.aio.AioRpcError as error:
        seen.append(failed(error))
    call = stub.Bidirectional()
    await call.write(messages.Request(fail=fail))
    await call.done_writing()
    try:
        async for _ in call:
            seen.append("a response")
    except grpc.aio.AioRpcError as error:
        seen.append(failed(error))
    expect(seen == ["UNKNOWN 'test status message'"] * 2, seen)
    return str(seen)


@case
async def special_status_message(stub):
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    try:
        await stub.Unary(messages.Request(fail=messages.Status(code=2, message=message)))
    except grpc.aio.AioRpcError as error:
        expect(error.details() == message, error.details())
        return failed(error)
    raise AssertionError("no failure")


@case
async def every_status(stub):
    seen = []
    for code in range(1, 17):
        try:
            await stub.Unary(messages.Request(fail=messages.Status(code=code, message=f"m{code}")))
        except grpc.aio.AioRpcError as error:
            expect(error.code().value[0] == code, error)
            seen.append(failed(error))
    return " ".join(seen)


@case
async def failure_after_responses(stub):
    fail = messages.Status(code=9, message="half-way")
    call = stub.ServerStream(messages.Request(response_sizes=[5, 6], fail=fail))
    got = []
    try:
        async for response in call:
            got.append(len(response.payload))
    except grpc.aio.AioRpcError as error:
        expect(got == [5, 6], got)
        return f"{got} {failed(error)}"
    raise AssertionError("no failure")


async def failure_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


@case
async def unimplemented_method(stub):
    return await failure_of(stub.Unimplemented(messages.Nothing()))


@case
async def unimplemented_service(stub):
    missing = services.MissingStub(stub.channel)
    return await failure_of(missing.Unimplemented(messages.Nothing()))


def marked():
    return f"{os.getpid()}-{os.urandom(8).hex()}"


@case
async def cancel_after_begin(stub):
    call = stub.ClientStream()
    # The call has begun once a message of it was taken.
    await call.write(messages.Request(payload=b"x", pause_ms=60_000))
    call.cancel()
    try:
        await call
        raise AssertionError("completed")
    except asyncio.CancelledError:
        pass
    # The server may have seen the call, its message, or nothing of it at all.
    return (await call.code()).name


@case
async def cancel_after_first_response(stub):
    call_id = marked()
    call = stub.Bidirectional(metadata=(("call-id", call_id),))
    # The server rests before the second response.
    request = messages.Request(payload=bytes(27182), response_sizes=[31415, 1], pause_ms=60_000)
    await call.write(request)
    expect(len((await call.read()).payload) == 31415, "another payload")
    call.cancel()
    fate = await stub.Fate(messages.Call(id=call_id))
    expect(fate.end == "cancelled", fate)
    return f"{(await call.code()).name}, server: {fate.end}"


@case
async def timeout_on_sleeping_server(stub):
    call_id = marked()
    request = messages.Request(pause_ms=60_000)
    metadata = (("call-id", call_id),)
    code = await failure_of(stub.Unary(request, timeout=2, metadata=metadata))
    fate = await stub.Fate(messages.Call(id=call_id))
    expect((code, fate.end) == ("DEADLINE_EXCEEDED", "cancelled"), (code, fate))
    return f"{code}, server: {fate.end}"


@case
async def deadline_reaches_the_server(stub):
    call_id = marked()
    await stub.Empty(messages.Nothing(), timeout=100, metadata=(("call-id", call_id),))
    fate = await stub.Fate(messages.Call(id=call_id))
    expect(99 <= fate.deadline_s <= 101, fate)
    return fate.end


@case
async def bulk_both_ways(stub):
    """20 MiB in each direction at once."""
    size, count = 1 << 20, 20
    call = stub.Bidirectional()

    async def write():
        for _ in range(count):
            await call.write(messages.Request(payload=bytes(size), response_sizes=[size]))
        await call.done_writing()

    writing = asyncio.create_task(write())
    digest, total = hashlib.sha256(), 0
    async for response in call:
        digest.update(response.payload)
        total += len(response.payload)
    await writing
    expect(total == size * count, total)
    return digest.hexdigest()


@case
async def many_at_once(stub):
    request = messages.Request(payload=bytes(100), response_size=100)
    answers = await asyncio.gather(*(stub.Unary(request) for _ in range(300)))
    return f"{sum(len(a.payload) for a in answers)} bytes"


async def main(address):
    async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
        stub = services.InteropStub(channel)
        stub.channel = channel
        for function in cases:
            try:
                outcome = await asyncio.wait_for(function(stub), PATIENCE)
            except Exception as error:
                outcome = "FAIL " + " ".join(repr(error).split())
            print(f"{function.__name__}\t{outcome}", flush=True)


asyncio.run(main(sys.argv[1]))
