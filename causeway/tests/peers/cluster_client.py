"""Asks an edge's Cluster Service by grpcio. Arguments: where the proto files are, a method, the target,
and what else the method takes. Prints a line for each fact, and how the call ended."""

import sys

import grpc

protos, method, target, *rest = sys.argv[1:]
sys.path.insert(0, protos)
messages, services = grpc.protos_and_services("causeway/cluster/v1/cluster_service.proto")

# Of a unix socket it would name the path, which is no authority (RFC 9113, section 8.3.1).
channel = grpc.insecure_channel(target, options=[("grpc.default_authority", "localhost")])
stub = services.ClusterServiceStub(channel)
STATES = messages.ClusterState
HEALTH = messages.HealthState


def show(cluster):
    state = STATES.Name(cluster.state).removeprefix("CLUSTER_STATE_").lower()
    services = ",".join(
        f"{service.name}={HEALTH.Name(service.state).removeprefix('HEALTH_STATE_').lower()}"
        for service in cluster.services
    )
    changes = ",".join(change.WhichOneof("what") for change in cluster.changes)
    return f"{cluster.tenant}/{cluster.cluster} {state} services {services} changes {changes}"


def say(*words):
    print(*words, flush=True)


def listed():
    answer = stub.ListClusters(messages.ListClustersRequest(tenant=rest[0], limit=int(rest[1])))
    for cluster in answer.clusters:
        say(show(cluster))
        for session in cluster.sessions:
            known = [session.transport, session.edge, session.version.split("/")[0]]
            times = [session.since, session.last_heard, session.certificate_expires]
            ordered = times == sorted(times, key=lambda time: time.ToNanoseconds())
            say("session", *known, "rtt" if session.rtt_us > 0 else "no rtt", ordered)
    say("next", answer.next or "none")


def get():
    say(show(stub.GetCluster(messages.GetClusterRequest(tenant=rest[0], cluster=rest[1])).cluster))


def watch():
    """Optionally goes on from INSTANCE and VERSION."""
    request = messages.WatchClustersRequest()
    if rest:
        request.instance, request.version = rest[0], int(rest[1])
    for event in stub.WatchClusters(request):
        kind = event.WhichOneof("event")
        say(kind, show(event.cluster) if kind == "cluster" else "", "at", event.instance, event.version)


def compressed():
    request = messages.GetClusterRequest(tenant="acme" * 100, cluster="demo")
    stub.GetCluster(request, compression=grpc.Compression.Gzip)


def large():
    stub.GetCluster(messages.GetClusterRequest(tenant="a" * 10_000, cluster="demo"))


def missing():
    channel.unary_unary("/causeway.cluster.v1.ClusterService/DropClusters")(b"")


try:
    {"list": listed, "get": get, "watch": watch, "compressed": compressed, "large": large, "missing": missing}[method]()
    say("ended OK")
except grpc.RpcError as error:
    say("ended", error.code().name, error.details())
