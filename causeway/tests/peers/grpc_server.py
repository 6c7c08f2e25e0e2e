"""A gRPC server by grpcio that does what interop.proto says. `--max-age S` sends every channel
away with GOAWAY after about as many seconds, `--max-idle S` after as many without a call."""

import collections
import concurrent.futures
import sys
import threading

import grpc

from interop import messages, services

# Metadata that is sent back, as the gRPC interop cases have it: one at the beginning, one at the end.
INITIAL = "x-echo-initial"
TRAILING = "x-echo-trailing-bin"


class Fate:
    """What becomes of one call."""

    def __init__(self):
        self.over = threading.Event()
        self.answered = False
        self.deadline = -1

    def begin(self, context):
        remaining = context.time_remaining()
        # None, or centuries, if the caller set none.
        has_one = remaining is not None and remaining < 1e6
        self.deadline = round(remaining) if has_one else -1
        if not context.add_callback(self.over.set):
            self.over.set()


fates = collections.defaultdict(Fate)


def begin(context):
    """Sends back the metadata that asks for it, and gives the call's fate to note its end in."""
    metadata = dict(context.invocation_metadata())
    if INITIAL in metadata:
        context.send_initial_metadata(((INITIAL, metadata[INITIAL]),))
    if TRAILING in metadata:
        context.set_trailing_metadata(((TRAILING, metadata[TRAILING]),))
    fate = fates[metadata["call-id"]] if "call-id" in metadata else Fate()
    fate.begin(context)
    return fate


def pause(request, fate):
    if request.pause_ms:
        fate.over.wait(request.pause_ms / 1000)


def fail(request, context):
    if request.fail.code:
        code = next(code for code in grpc.StatusCode if code.value[0] == request.fail.code)
        context.abort(code, request.fail.message)


def responses(request, context, fate):
    for size in request.response_sizes:
        yield messages.Response(payload=bytes(size))
        pause(request, fate)
    fail(request, context)


class Interop(services.InteropServicer):
    def Empty(self, request, context):
        begin(context).answered = True
        return messages.Nothing()

    def Unary(self, request, context):
        fate = begin(context)
        pause(request, fate)
        fail(request, context)
        fate.answered = not fate.over.is_set()
        return messages.Response(payload=bytes(request.response_size))

    def ClientStream(self, requests, context):
        fate = begin(context)
        total = messages.Total()
        for request in requests:
            total.bytes += len(request.payload)
            total.messages += 1
            pause(request, fate)
        fate.answered = not fate.over.is_set()
        return total

    def ServerStream(self, request, context):
        fate = begin(context)
        yield from responses(request, context, fate)
        fate.answered = not fate.over.is_set()

    def Bidirectional(self, requests, context):
        fate = begin(context)
        for request in requests:
            yield from responses(request, context, fate)
        fate.answered = not fate.over.is_set()

    def Fate(self, request, context):
        fate = fates[request.id]
        if not fate.over.wait(15):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the call still goes on")
        end = "completed" if fate.answered else "cancelled"
        return messages.Outcome(end=end, deadline_s=fate.deadline)


options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
# By itself it gives a connection up whose peer answers none of its own pings for a minute.
options += [("grpc.http2.ping_timeout_ms", 600_000)]
if "--max-age" in sys.argv:
    age_ms = int(sys.argv[sys.argv.index("--max-age") + 1]) * 1000
    options += [("grpc.max_connection_age_ms", age_ms), ("grpc.max_connection_age_grace_ms", 10_000)]
if "--max-idle" in sys.argv:
    idle_ms = int(sys.argv[sys.argv.index("--max-idle") + 1]) * 1000
    options += [("grpc.max_connection_idle_ms", idle_ms)]
server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=options)
services.add_InteropServicer_to_server(Interop(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("listening", port, flush=True)
server.wait_for_termination()
