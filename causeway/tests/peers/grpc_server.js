// A gRPC server by @grpc/grpc-js that does what interop.proto says.
"use strict";
const grpc = require("@grpc/grpc-js");
const { setTimeout: pause } = require("timers/promises");
const { Interop } = require("./interop.js");

// Metadata that is sent back, as the gRPC interop cases have it: one at the beginning, one at the end.
const INITIAL = "x-echo-initial";
const TRAILING = "x-echo-trailing-bin";

// What becomes of calls that carried a `call-id`, for Fate to tell.
const fates = new Map();

function fateOf(id) {
  if (!fates.has(id)) {
    const fate = {};
    fate.over = new Promise((resolve) => (fate.end = resolve));
    fates.set(id, fate);
  }
  return fates.get(id);
}

// Sends back the metadata that asks for it; gives the trailers, and notes how the call ends.
function begin(call) {
  const trailers = new grpc.Metadata();
  for (const value of call.metadata.get(INITIAL)) {
    const initial = new grpc.Metadata();
    initial.set(INITIAL, value);
    call.sendMetadata(initial);
  }
  for (const value of call.metadata.get(TRAILING)) trailers.set(TRAILING, value);
  const [id] = call.metadata.get("call-id");
  let complete = () => {};
  if (id !== undefined) {
    const fate = fateOf(id);
    const deadline = call.getDeadline();
    const deadline_s = deadline === Infinity ? -1 : Math.round((deadline - Date.now()) / 1000);
    call.on("cancelled", () => fate.end({ end: "cancelled", deadline_s }));
    complete = () => fate.end({ end: "completed", deadline_s });
  }
  return { trailers, complete };
}

function failure(request) {
  return request.fail && request.fail.code
    ? { code: request.fail.code, details: request.fail.message }
    : null;
}

async function respond(request, call) {
  for (const size of request.response_sizes) {
    if (!call.write({ payload: Buffer.alloc(size) })) {
      await new Promise((resolve) => call.once("drain", resolve));
    }
    if (request.pause_ms) await pause(request.pause_ms);
  }
  return failure(request);
}

const server = new grpc.Server({
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
});
server.addService(Interop.service, {
  Empty(call, done) {
    const { trailers, complete } = begin(call);
    complete();
    done(null, {}, trailers);
  },
  async Unary(call, done) {
    const { trailers, complete } = begin(call);
    if (call.request.pause_ms) await pause(call.request.pause_ms, undefined, { ref: false });
    if (!call.cancelled) complete();
    const failed = failure(call.request);
    if (failed) done(failed);
    else done(null, { payload: Buffer.alloc(call.request.response_size) }, trailers);
  },
  ClientStream(call, done) {
    const { trailers, complete } = begin(call);
    const total = { bytes: 0, messages: 0 };
    let before = Promise.resolve();
    call.on("data", (request) => {
      total.bytes += request.payload.length;
      total.messages += 1;
      if (request.pause_ms) before = before.then(() => pause(request.pause_ms));
    });
    call.on("end", async () => {
      await before;
      if (call.cancelled) return;
      complete();
      done(null, total, trailers);
    });
  },
  async ServerStream(call) {
    const { trailers, complete } = begin(call);
    const failed = await respond(call.request, call);
    complete();
    if (failed) call.emit("error", failed);
    else call.end(trailers);
  },
  Bidirectional(call) {
    const { trailers, complete } = begin(call);
    let before = Promise.resolve(null);
    call.on("data", (request) => {
      before = before.then((failed) => failed || respond(request, call));
    });
    call.on("end", async () => {
      const failed = await before;
      if (call.cancelled) return;
      complete();
      if (failed) call.emit("error", failed);
      else call.end(trailers);
    });
  },
  async Fate(call, done) {
    done(null, await fateOf(call.request.id).over);
  },
});
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log("listening", port);
});
