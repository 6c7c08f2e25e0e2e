"""Calls beside callers that read nothing: `grpc_stalled.py HOST:PORT` measures unary calls, first
alone, then while three other channels have asked for endless streams and do not read them. Prints
`case<TAB>latencies`; `FAIL` if a call lasts longer than two seconds."""

import sys
import time

import grpc

from interop import messages, services

CALLS = 2000
LIMIT_S = 2


def measure(stub):
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        stub.Unary(messages.Request(payload=b"x" * 100, response_size=100), timeout=LIMIT_S)
        took.append((time.perf_counter() - began) * 1e6)
    took.sort()
    return took[CALLS // 2], took[CALLS * 99 // 100], took[-1]


def stalled(address):
    """A caller of its own, that has read one message of very many."""
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    stub = services.InteropStub(channel)
    stream = stub.ServerStream(messages.Request(response_sizes=[1 << 20] * 10_000))
    next(stream)
    return channel, stream


def main(address):
    with grpc.insecure_channel(address) as channel:
        stub = services.InteropStub(channel)
        measure(stub)
        alone = measure(stub)
        print("alone\tp50 %.0f µs, p99 %.0f µs, longest %.0f µs" % alone)
        held = [stalled(address) for _ in range(3)]
        beside = measure(stub)
        print("beside three stalled\tp50 %.0f µs, p99 %.0f µs, longest %.0f µs" % beside)
        print("p99 ratio\t%.2f" % (beside[1] / alone[1]))
        for channel, stream in held:
            stream.cancel()
            channel.close()


try:
    main(sys.argv[1])
except grpc.RpcError as error:
    print("calls\tFAIL " + " ".join(repr(error).split()))
