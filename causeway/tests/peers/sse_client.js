// The cases of server-sent events by eventsource: `sse_client.js VERSION HOST:PORT` prints
// `case<TAB>outcome`. Over HTTP/1.1 it fetches by Node's own fetch, over HTTP/2 by Node's http2.
"use strict";
const assert = require("assert");
const { once } = require("events");
const http2 = require("http2");
const { Readable } = require("stream");
const { EventSource } = require("eventsource");

const PATIENCE_MS = 60_000;
const [version, address] = process.argv.slice(2);
const base = `http://${address}`;

// The server keeps what it knows of a caller, and is asked more than once.
const run = process.pid;
const connection = version === "2" ? http2.connect(base) : null;

// As much of fetch as events need.
async function fetchByHttp2(url, { method = "GET", headers = {}, signal } = {}) {
  const { pathname, search } = new URL(url);
  const fields = Object.fromEntries(new Headers(headers));
  const head = { ...fields, ":method": method, ":path": pathname + search };
  const stream = connection.request(head, { endStream: true });
  signal?.addEventListener("abort", () => stream.close(http2.constants.NGHTTP2_CANCEL));
  const [{ ":status": status, ...answered }] = await once(stream, "response");
  const body = status === 204 ? null : Readable.toWeb(stream);
  return new Response(body, { status, headers: Object.entries(answered) });
}

const fetching = connection ? fetchByHttp2 : fetch;

const ask = async (path, method) => {
  const response = await fetching(`${base}${path}`, { method });
  assert(response.ok, `${path}: ${response.status}`);
  return response.text();
};

const acknowledge = (id, event) => ask(`/acknowledge?id=${run}-${id}&event=${event}`, "POST");

// Takes `count` events, acknowledging each, and gives out their data.
async function take(id, count, more = "") {
  const source = new EventSource(`${base}/events?id=${run}-${id}&n=${count}${more}`, { fetch: fetching });
  const taken = [];
  await new Promise((resolve, reject) => {
    source.addEventListener("counted", ({ data, lastEventId }) => {
      taken.push(data);
      if (Number(lastEventId) !== taken.length) reject(new Error(`event ${lastEventId} came ${taken.length}th`));
      // Before the last is acknowledged, lest the end brings the source back.
      if (taken.length === count) source.close();
      acknowledge(id, lastEventId).then(() => taken.length === count && resolve(), reject);
    });
    source.addEventListener("error", ({ code, message }) => {
      if (source.readyState === EventSource.CLOSED) reject(new Error(`${code} ${message}`));
    });
  });
  return taken;
}

const cases = {
  async event_by_event() {
    const taken = await take("each", 200);
    const expected = taken.map((_, n) => `event ${n + 1}\nof 200`);
    assert.deepStrictEqual(taken, expected);
    return `${taken.length}, came after ${await ask(`/came?id=${run}-each`)}`;
  },
  async small_and_large() {
    const seen = [];
    for (const size of [1, 100, 1400, 4096, 16_384, 65_536, 1 << 20, 5 << 20]) {
      const taken = await take(`size-${size}`, 3, `&size=${size}`);
      assert(taken.every((data) => data === "x".repeat(size)), `${size}`);
      seen.push(size);
    }
    return seen;
  },
  async many_at_once() {
    const all = await Promise.all(Array.from({ length: 50 }, (_, n) => take(`many-${n}`, 20)));
    assert(all.every((taken) => taken.length === 20));
    return all.length;
  },
  // The end of the response is seen, and the last event's name is told when it comes again.
  async comes_again() {
    const taken = await take("again", 20, "&part=5");
    return [taken.length, await ask(`/came?id=${run}-again`)];
  },
  async leaves() {
    const source = new EventSource(`${base}/events?id=${run}-leaving&n=10`, { fetch: fetching });
    await new Promise((resolve) => source.addEventListener("counted", resolve));
    source.close();
    return ask(`/left?id=${run}-leaving`);
  },
  async stays_away() {
    const source = new EventSource(`${base}/nothing`, { fetch: fetching });
    const { code } = await new Promise((resolve) => source.addEventListener("error", resolve));
    assert.strictEqual(source.readyState, EventSource.CLOSED);
    return code;
  },
};

async function main() {
  for (const [name, work] of Object.entries(cases)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("not in time")), PATIENCE_MS);
    });
    let outcome;
    try {
      outcome = JSON.stringify(await Promise.race([work(), late]));
    } catch (error) {
      outcome = `FAIL ${String(error.message).replace(/\s+/g, " ")}`;
    }
    clearTimeout(timer);
    console.log(`${name}\t${outcome}`);
  }
  process.exit(0);
}

main();
