// The service of interop.proto for the Connect peers, without generated code: from the descriptors
// that protoc writes. The Connect clients and servers take it as they would take generated ones.
"use strict";
const { execFileSync } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const { createFileRegistry, fromBinary } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");

// Python's grpcio-tools brings protoc along.
function descriptors() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "causeway-connect-"));
  const out = path.join(directory, "interop.binpb");
  try {
    const args = ["-m", "grpc_tools.protoc", `-I${__dirname}`, "--include_imports"];
    execFileSync(process.env.PYTHON, [...args, `--descriptor_set_out=${out}`, "interop.proto"]);
    return fs.readFileSync(out);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors()));

exports.Interop = registry.getService("causeway.peers.v1.Interop");
exports.Missing = registry.getService("causeway.peers.v1.Missing");
exports.Status = registry.getMessage("causeway.peers.v1.Status");
