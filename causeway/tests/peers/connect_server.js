// A server by @connectrpc/connect-node that does what interop.proto says, in the Connect, gRPC and
// gRPC-Web protocols at once. `connect_server.js 1` speaks HTTP/1.1, `connect_server.js 2` HTTP/2.
"use strict";
const http = require("http");
const http2 = require("http2");
const { setTimeout: pause } = require("timers/promises");
const { ConnectError } = require("@connectrpc/connect");
const { connectNodeAdapter } = require("@connectrpc/connect-node");
const { Interop, Status } = require("./connect_service.js");

// Metadata that is sent back: one at the beginning, one at the end.
const INITIAL = "x-echo-initial";
const TRAILING = "x-echo-trailing-bin";

const fates = new Map();

function fateOf(id) {
  if (!fates.has(id)) {
    const fate = {};
    fate.over = new Promise((resolve) => (fate.end = resolve));
    fates.set(id, fate);
  }
  return fates.get(id);
}

function begin(context) {
  for (const [name, into] of [[INITIAL, context.responseHeader], [TRAILING, context.responseTrailer]]) {
    const value = context.requestHeader.get(name);
    if (value !== null) into.set(name, value);
  }
  const id = context.requestHeader.get("call-id");
  if (id === null) return () => {};
  const left = context.timeoutMs();
  const deadlineS = BigInt(left === undefined ? -1 : Math.round(left / 1000));
  const fate = fateOf(id);
  context.signal.addEventListener("abort", () => fate.end({ end: "cancelled", deadlineS }));
  return () => fate.end({ end: "completed", deadlineS });
}

function fail(request) {
  if (request.fail && request.fail.code) {
    const { code, message } = request.fail;
    const details = [{ desc: Status, value: { code: 42, message: "a detail" } }];
    throw new ConnectError(message, code, { "x-error": "metadata of the error" }, details);
  }
}

// What ends a rest early is the call's own failure, also when it is the server's clock that ran out
// first; the AbortError of the timer would be answered as an internal error.
async function rest(ms, { signal }) {
  if (ms) await pause(ms, undefined, { signal }).catch(() => { throw signal.reason; });
}

async function* responses(request, context) {
  for (const size of request.responseSizes) {
    await rest(request.pauseMs, context);
    yield { payload: new Uint8Array(size) };
  }
  fail(request);
}

function routes(router) {
  router.service(Interop, {
    empty(_, context) {
      begin(context)();
      return {};
    },
    async unary(request, context) {
      const complete = begin(context);
      await rest(request.pauseMs, context);
      complete();
      fail(request);
      return { payload: new Uint8Array(request.responseSize) };
    },
    async clientStream(requests, context) {
      const complete = begin(context);
      const total = { bytes: 0n, messages: 0 };
      for await (const request of requests) {
        total.bytes += BigInt(request.payload.length);
        total.messages += 1;
      }
      complete();
      return total;
    },
    async *serverStream(request, context) {
      const complete = begin(context);
      yield* responses(request, context);
      complete();
    },
    async *bidirectional(requests, context) {
      const complete = begin(context);
      for await (const request of requests) yield* responses(request, context);
      complete();
    },
    fate: ({ id }) => fateOf(id).over,
  });
}

const adapter = connectNodeAdapter({ routes, maxTimeoutMs: 200_000 });
const server = process.argv[2] === "2" ? http2.createServer(adapter) : http.createServer(adapter);
server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
