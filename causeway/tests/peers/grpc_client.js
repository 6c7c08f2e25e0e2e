// The gRPC interop cases by @grpc/grpc-js: `grpc_client.js HOST:PORT` prints `case<TAB>outcome`.
//
// The cases are those of the gRPC project's interop test descriptions, and some more.
"use strict";
const assert = require("assert");
const crypto = require("crypto");
const grpc = require("@grpc/grpc-js");
const { Interop, Missing } = require("./interop.js");

const PATIENCE_MS = 60_000;

const address = process.argv[2];
const options = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };
const stub = new Interop(address, grpc.credentials.createInsecure(), options);
const missing = new Missing(address, grpc.credentials.createInsecure());

function metadata(pairs) {
  const result = new grpc.Metadata();
  for (const [name, value] of Object.entries(pairs)) result.set(name, value);
  return result;
}

// One answer to a unary or client-streaming call, with everything that is to be seen of it.
function single(start) {
  return new Promise((resolve) => {
    const seen = {};
    const call = start((error, response) => {
      seen.error = error;
      seen.response = response;
    });
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("status", (status) => resolve({ ...seen, status }));
  });
}

// All answers of a stream, and how it ended.
function all(call) {
  return new Promise((resolve) => {
    const seen = { sizes: [] };
    call.on("data", (response) => seen.sizes.push(response.payload.length));
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("error", () => {});
    call.on("status", (status) => resolve({ ...seen, status }));
  });
}

const next = (call) => new Promise((resolve) => call.once("data", resolve));
const told = ({ code, details }) => `${code} ${JSON.stringify(details)}`;
const marked = () => `${process.pid}-${crypto.randomBytes(8).toString("hex")}`;
const fate = async (id) => (await single((done) => stub.Fate({ id }, done))).response;
const unary = (request, pairs = {}, more = {}) =>
  single((done) => stub.Unary(request, metadata(pairs), more, done));

const cases = {
  async empty_unary() {
    const { response, status } = await single((done) => stub.Empty({}, done));
    assert.deepStrictEqual(response, {});
    return told(status);
  },
  async large_unary() {
    const { response } = await unary({ payload: Buffer.alloc(271828), response_size: 314159 });
    assert.deepStrictEqual(response.payload, Buffer.alloc(314159));
    return `${response.payload.length} bytes`;
  },
  async client_streaming() {
    const { response } = await single((done) => {
      const call = stub.ClientStream(done);
      for (const size of [27182, 8, 1828, 45904]) call.write({ payload: Buffer.alloc(size) });
      call.end();
      return call;
    });
    assert.deepStrictEqual(response, { bytes: 74922, messages: 4 });
    return JSON.stringify(response);
  },
  async server_streaming() {
    const response_sizes = [31415, 9, 2653, 58979];
    const { sizes, status } = await all(stub.ServerStream({ response_sizes }));
    assert.deepStrictEqual(sizes, response_sizes);
    return `${sizes} ${told(status)}`;
  },
  async ping_pong() {
    const call = stub.Bidirectional();
    const ended = all(call);
    for (const [request, response] of [[27182, 31415], [8, 9], [1828, 2653], [45904, 58979]]) {
      const answer = next(call);
      call.write({ payload: Buffer.alloc(request), response_sizes: [response] });
      await answer;
    }
    call.end();
    const { sizes, status } = await ended;
    assert.deepStrictEqual(sizes, [31415, 9, 2653, 58979]);
    return `${sizes} ${told(status)}`;
  },
  async empty_stream() {
    const call = stub.Bidirectional();
    const ended = all(call);
    call.end();
    const { sizes, status } = await ended;
    assert.deepStrictEqual([sizes, status.code], [[], 0]);
    return told(status);
  },
  async custom_metadata() {
    const binary = Buffer.from([0x0a, 0x0b, 0x0a, 0x0b, 0x00, 0xff]);
    const pairs = { "x-echo-initial": "test initial, metadata", "x-echo-trailing-bin": binary };
    const one = await unary({ response_size: 3 }, pairs);
    const call = stub.Bidirectional(metadata(pairs));
    const ended = all(call);
    call.write({ response_sizes: [3] });
    call.end();
    for (const { initial, status } of [one, await ended]) {
      assert.deepStrictEqual(initial.get("x-echo-initial"), [pairs["x-echo-initial"]]);
      assert.deepStrictEqual(status.metadata.get("x-echo-trailing-bin"), [binary]);
    }
    return "ok";
  },
  async status_code_and_message() {
    const fail = { code: 2, message: "test status message" };
    const one = await unary({ fail });
    const call = stub.Bidirectional();
    const ended = all(call);
    call.write({ fail });
    call.end();
    const seen = [told(one.status), told((await ended).status)];
    assert.deepStrictEqual(seen, ['2 "test status message"', '2 "test status message"']);
    return seen.join(", ");
  },
  async special_status_message() {
    const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    const { status } = await unary({ fail: { code: 2, message } });
    assert.strictEqual(status.details, message);
    return told(status);
  },
  async every_status() {
    const seen = [];
    for (let code = 1; code <= 16; code++) {
      const { status } = await unary({ fail: { code, message: `m${code}` } });
      assert.strictEqual(status.code, code);
      seen.push(told(status));
    }
    return seen.join(", ");
  },
  async failure_after_responses() {
    const request = { response_sizes: [5, 6], fail: { code: 9, message: "half-way" } };
    const { sizes, status } = await all(stub.ServerStream(request));
    assert.deepStrictEqual(sizes, [5, 6]);
    return `${sizes} ${told(status)}`;
  },
  async unimplemented_method() {
    const { status } = await single((done) => stub.Unimplemented({}, done));
    assert.strictEqual(status.code, 12);
    return `${status.code}`;
  },
  async unimplemented_service() {
    const { status } = await single((done) => missing.Unimplemented({}, done));
    assert.strictEqual(status.code, 12);
    return `${status.code}`;
  },
  async cancel_after_begin() {
    const { status } = await single((done) => {
      const call = stub.ClientStream(done);
      // The call has begun once a message of it was taken.
      call.write({ payload: Buffer.from("x"), pause_ms: 60_000 }, () => call.cancel());
      return call;
    });
    assert.strictEqual(status.code, 1);
    // The server may have seen the call, its message, or nothing of it at all.
    return told(status);
  },
  async cancel_after_first_response() {
    const id = marked();
    const call = stub.Bidirectional(metadata({ "call-id": id }));
    const ended = all(call);
    const answer = next(call);
    // The server rests before the second response.
    call.write({ payload: Buffer.alloc(27182), response_sizes: [31415, 1], pause_ms: 60_000 });
    await answer;
    call.cancel();
    const { status } = await ended;
    const { end } = await fate(id);
    assert.deepStrictEqual([status.code, end], [1, "cancelled"]);
    return `${told(status)}, server: ${end}`;
  },
  async timeout_on_sleeping_server() {
    const id = marked();
    const deadline = Date.now() + 2_000;
    const { status } = await unary({ pause_ms: 60_000 }, { "call-id": id }, { deadline });
    const { end } = await fate(id);
    assert.deepStrictEqual([status.code, end], [4, "cancelled"]);
    return `${status.code}, server: ${end}`;
  },
  async deadline_reaches_the_server() {
    const id = marked();
    await unary({}, { "call-id": id }, { deadline: Date.now() + 100_000 });
    const { end, deadline_s } = await fate(id);
    assert.deepStrictEqual([end, deadline_s], ["completed", 100]);
    return end;
  },
  async bulk_both_ways() {
    const size = 1 << 20;
    const call = stub.Bidirectional();
    const hash = crypto.createHash("sha256");
    call.on("data", (response) => hash.update(response.payload));
    const ended = all(call);
    for (let i = 0; i < 20; i++) {
      const room = call.write({ payload: Buffer.alloc(size), response_sizes: [size] });
      if (!room) await new Promise((resolve) => call.once("drain", resolve));
    }
    call.end();
    const { sizes, status } = await ended;
    assert.strictEqual(sizes.length, 20);
    return `${hash.digest("hex")} ${told(status)}`;
  },
  async many_at_once() {
    const request = { payload: Buffer.alloc(100), response_size: 100 };
    const answers = await Promise.all(Array.from({ length: 300 }, () => unary(request)));
    return `${answers.reduce((sum, { response }) => sum + response.payload.length, 0)} bytes`;
  },
};

async function main() {
  for (const [name, run] of Object.entries(cases)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("not in time")), PATIENCE_MS);
    });
    let outcome;
    try {
      outcome = await Promise.race([run(), late]);
    } catch (error) {
      outcome = `FAIL ${String(error.message).replace(/\s+/g, " ")}`;
    }
    clearTimeout(timer);
    console.log(`${name}\t${outcome}`);
  }
  process.exit(0);
}

main();
