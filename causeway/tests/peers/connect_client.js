// The Connect cases by @connectrpc/connect-node: `connect_client.js HTTP-VERSION HOST:PORT` calls in
// the Connect, gRPC and gRPC-Web protocols, and prints `case<TAB>outcome`.
"use strict";
const assert = require("assert");
const crypto = require("crypto");
const { Code, ConnectError, createClient, decodeBinaryHeader } = require("@connectrpc/connect");
const { createConnectTransport, createGrpcTransport, createGrpcWebTransport } = require("@connectrpc/connect-node");
const { Interop, Missing, Status } = require("./connect_service.js");

const PATIENCE_MS = 60_000;
const [httpVersion, address] = process.argv.slice(2);
// Full duplex and trailers need HTTP/2.
const http2 = httpVersion === "2";

const options = { baseUrl: `http://${address}`, httpVersion: http2 ? "2" : "1.1" };
const transports = {
  connect: createConnectTransport(options),
  connect_json: createConnectTransport({ ...options, useBinaryFormat: false }),
  connect_get: createConnectTransport({ ...options, useHttpGet: true }),
  connect_gzip: createConnectTransport({ ...options, sendCompression: require("@connectrpc/connect-node").compressionGzip }),
  grpc_web: createGrpcWebTransport(options),
  ...(http2 ? { grpc: createGrpcTransport(options) } : {}),
};

const BULK = [transports.connect, transports.grpc_web, transports.grpc];

const marked = () => `${process.pid}-${crypto.randomBytes(8).toString("hex")}`;

async function* from(list) {
  yield* list;
}

async function failureOf(promise) {
  try {
    await promise;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("no failure");
}

const told = (error) => `${Code[error.code]} ${JSON.stringify(error.rawMessage)}`;

async function sizesOf(stream) {
  const sizes = [];
  for await (const { payload } of stream) sizes.push(payload.length);
  return sizes;
}

// Requests that are sent one by one, each when the answer to the one before has come.
function turns() {
  let give;
  const queue = [];
  const ended = Symbol("ended");
  async function* requests() {
    for (;;) {
      if (queue.length === 0) await new Promise((resolve) => (give = resolve));
      const next = queue.shift();
      if (next === ended) return;
      yield next;
    }
  }
  const put = (item) => {
    queue.push(item);
    if (give) give();
  };
  return { requests: requests(), put, end: () => put(ended) };
}

const cases = {
  async unary(client) {
    const { payload } = await client.unary({ payload: new Uint8Array(2718), responseSize: 31415 });
    assert.strictEqual(payload.length, 31415);
    return `${payload.length}`;
  },
  async empty(client) {
    return JSON.stringify(await client.empty({}));
  },
  async client_streaming(client) {
    const sizes = [27182, 8, 1828, 45904];
    const total = await client.clientStream(from(sizes.map((n) => ({ payload: new Uint8Array(n) }))));
    assert.deepStrictEqual([total.bytes, total.messages], [74922n, 4]);
    return `${total.bytes} in ${total.messages}`;
  },
  async server_streaming(client) {
    const responseSizes = [31415, 9, 2653, 58979];
    const sizes = await sizesOf(client.serverStream({ responseSizes }));
    assert.deepStrictEqual(sizes, responseSizes);
    return `${sizes}`;
  },
  async server_push_with_pauses(client) {
    return `${await sizesOf(client.serverStream({ responseSizes: [1, 1, 1], pauseMs: 200 }))}`;
  },
  async metadata(client) {
    const headers = { "x-echo-initial": "test initial", "x-echo-trailing-bin": "CgsKCwD/" };
    const seen = {};
    const onHeader = (found) => (seen.initial = found.get("x-echo-initial"));
    const onTrailer = (found) =>
      (seen.trailing = Buffer.from(decodeBinaryHeader(found.get("x-echo-trailing-bin"))).toString("hex"));
    await client.unary({}, { headers, onHeader, onTrailer });
    assert.deepStrictEqual(seen, { initial: "test initial", trailing: "0a0b0a0b00ff" });
    const streamed = {};
    await sizesOf(client.serverStream({ responseSizes: [1] }, {
      headers,
      onHeader: (found) => (streamed.initial = found.get("x-echo-initial")),
      onTrailer: (found) =>
        (streamed.trailing = Buffer.from(decodeBinaryHeader(found.get("x-echo-trailing-bin"))).toString("hex")),
    }));
    assert.deepStrictEqual(streamed, seen);
    return JSON.stringify(seen);
  },
  async errors(client) {
    const seen = [];
    for (let code = 1; code <= 16; code++) {
      const error = await failureOf(client.unary({ fail: { code, message: `ü ${code}` } }));
      assert.strictEqual(error.code, code);
      const [detail] = error.findDetails(Status);
      assert.strictEqual(detail.message, "a detail");
      seen.push(`${told(error)} ${error.metadata.get("x-error")}`);
    }
    return seen.join(", ");
  },
  async error_after_responses(client) {
    const sizes = [];
    const error = await failureOf((async () => {
      const fail = { code: 9, message: "half-way" };
      for await (const { payload } of client.serverStream({ responseSizes: [5, 6], fail })) sizes.push(payload.length);
    })());
    assert.deepStrictEqual([sizes, error.code], [[5, 6], 9]);
    return `${sizes} ${told(error)}`;
  },
  async unimplemented(client, transport) {
    const method = await failureOf(client.unimplemented({}));
    const service = await failureOf(createClient(Missing, transport).unimplemented({}));
    assert.deepStrictEqual([method.code, service.code], [Code.Unimplemented, Code.Unimplemented]);
    return `${told(method)}, ${Code[service.code]}`;
  },
  async timeout(client) {
    const id = marked();
    const late = client.unary({ pauseMs: 60_000 }, { timeoutMs: 2_000, headers: { "call-id": id } });
    const error = await failureOf(late);
    const { end } = await client.fate({ id });
    assert.deepStrictEqual([error.code, end], [Code.DeadlineExceeded, "cancelled"]);
    return `${Code[error.code]}, server: ${end}`;
  },
  async deadline_reaches_the_server(client) {
    const id = marked();
    await client.unary({}, { timeoutMs: 100_000, headers: { "call-id": id } });
    const { end, deadlineS } = await client.fate({ id });
    assert.deepStrictEqual([end, deadlineS], ["completed", 100n]);
    return end;
  },
  async cancellation(client) {
    const id = marked();
    const abort = new AbortController();
    const got = [];
    const error = await failureOf((async () => {
      const call = { signal: abort.signal, headers: { "call-id": id } };
      for await (const { payload } of client.serverStream({ responseSizes: [7, 7, 7], pauseMs: 300 }, call)) {
        got.push(payload.length);
        abort.abort();
      }
    })());
    const { end } = await client.fate({ id });
    assert.deepStrictEqual([error.code, got, end], [Code.Canceled, [7], "cancelled"]);
    return `${Code[error.code]} after ${got}, server: ${end}`;
  },
  async ping_pong(client) {
    if (!http2) return "not over HTTP/1.1";
    const { requests, put, end } = turns();
    const got = [];
    put({ responseSizes: [1] });
    for await (const { payload } of client.bidirectional(requests)) {
      got.push(payload.length);
      if (got.length < 5) put({ responseSizes: [got.length + 1] });
      else end();
    }
    assert.deepStrictEqual(got, [1, 2, 3, 4, 5]);
    return `${got}`;
  },
  async bulk(client, transport) {
    if (!BULK.includes(transport)) return "not again";
    const size = 1 << 20;
    let total = 0;
    for await (const { payload } of client.serverStream({ responseSizes: Array(20).fill(size) })) total += payload.length;
    const sent = await client.clientStream(from(Array(20).fill({ payload: new Uint8Array(size) })));
    assert.deepStrictEqual([total, sent.bytes], [20 * size, BigInt(20 * size)]);
    return `${total} down, ${sent.bytes} up`;
  },
};

async function main() {
  const all = Object.entries(transports).map(async ([protocol, transport]) => {
    const client = createClient(Interop, transport);
    for (const [name, run] of Object.entries(cases)) {
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("not in time")), PATIENCE_MS);
      });
      let outcome;
      try {
        outcome = await Promise.race([run(client, transport), late]);
      } catch (error) {
        outcome = `FAIL ${String(error.message).replace(/\s+/g, " ")}`;
      }
      clearTimeout(timer);
      console.log(`${protocol} ${name}\t${outcome}`);
    }
  });
  await Promise.all(all);
  process.exit(0);
}

main();
