"""One gRPC channel that stays open: `grpc_channel.py HOST:PORT` prints `ready`, then makes a call
for each line that it reads, and prints the call's status. No call waits for more than five seconds."""

import sys

import grpc

from interop import messages, services

# So that the channel tries again at once, not when its backoff of up to two minutes allows it.
options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
with grpc.insecure_channel(sys.argv[1], options=options) as channel:
    stub = services.InteropStub(channel)
    print("ready", flush=True)
    for _ in sys.stdin:
        try:
            stub.Unary(messages.Request(response_size=10), timeout=5)
            print("OK", flush=True)
        except grpc.RpcError as error:
            print(error.code().name, flush=True)
