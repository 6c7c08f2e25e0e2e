// The services of interop.proto, for the Node peers.
"use strict";
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync(path.join(__dirname, "interop.proto"), {
  keepCase: true,
  longs: Number,
  defaults: true,
});

module.exports = grpc.loadPackageDefinition(definition).causeway.peers.v1;
