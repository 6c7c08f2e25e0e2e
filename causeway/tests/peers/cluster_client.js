// Asks an edge's Cluster Service by @grpc/grpc-js. Arguments: where the proto files are, a method
// (list, get, watch), the target, and what else the method takes. Prints a line for each fact.
"use strict";
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [protos, method, target, ...rest] = process.argv.slice(2);
const definition = loader.loadSync("causeway/cluster/v1/cluster_service.proto", {
  includeDirs: [protos],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { ClusterService } = grpc.loadPackageDefinition(definition).causeway.cluster.v1;
const client = new ClusterService(target, grpc.credentials.createInsecure());

function show(cluster) {
  const state = cluster.state.replace("CLUSTER_STATE_", "").toLowerCase();
  const health = (service) => `${service.name}=${service.state.replace("HEALTH_STATE_", "").toLowerCase()}`;
  return `${cluster.tenant}/${cluster.cluster} ${state} services ${cluster.services.map(health).join(",")}`;
}

function end(error) {
  console.log(error ? `ended ${grpc.status[error.code]} ${error.details}` : "ended OK");
  client.close();
}

if (method === "list") {
  client.ListClusters({ tenant: rest[0], limit: Number(rest[1]) }, (error, answer) => {
    for (const cluster of answer?.clusters ?? []) console.log(show(cluster));
    end(error);
  });
} else if (method === "get") {
  client.GetCluster({ tenant: rest[0], cluster: rest[1] }, (error, answer) => {
    if (answer) console.log(show(answer.cluster));
    end(error);
  });
} else {
  const call = client.WatchClusters({});
  call.on("data", (event) => {
    console.log(event.event, event.event === "cluster" ? show(event.cluster) : "");
  });
  call.on("error", end);
  call.on("end", () => end());
}
