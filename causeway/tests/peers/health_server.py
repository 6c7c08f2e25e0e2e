"""A gRPC server by grpcio with the gRPC project's own health service. It serves; SIGUSR1 makes it
say that it does not, SIGUSR2 that it does again. The service "asleep" never serves."""

import concurrent.futures
import signal
import threading

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse
servicer = health.HealthServicer()
changes = threading.Semaphore(0)
wanted = Status.SERVING


def change(to):
    global wanted
    wanted = to
    changes.release()


signal.signal(signal.SIGUSR1, lambda *_: change(Status.NOT_SERVING))
signal.signal(signal.SIGUSR2, lambda *_: change(Status.SERVING))


def follow():
    while True:
        for service in ["", "causeway.peers.v1.Interop"]:
            servicer.set(service, wanted)
        changes.acquire()


servicer.set("asleep", Status.NOT_SERVING)
threading.Thread(target=follow, daemon=True).start()
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("listening", port, flush=True)
while True:
    signal.pause()
