// The WebSocket cases by ws: `ws_client.js HOST:PORT` prints `case<TAB>outcome`.
"use strict";
const assert = require("assert");
const crypto = require("crypto");
const WebSocket = require("ws");

const PATIENCE_MS = 60_000;
const address = process.argv[2];

const digest = (data) =>
  `${data.length} ${crypto.createHash("sha256").update(data).digest("hex").slice(0, 16)}`;

// A connection, with its messages in a queue and its end as a promise.
function open(path = "/", options = {}, protocols = []) {
  const ws = new WebSocket(`ws://${address}${path}`, protocols, options);
  const messages = [];
  let wanted = null;
  ws.on("message", (data, binary) => {
    if (wanted) wanted({ data, binary });
    else messages.push({ data, binary });
  });
  ws.on("error", () => {});
  ws.next = () =>
    messages.length > 0
      ? Promise.resolve(messages.shift())
      : new Promise((resolve) => (wanted = resolve)).finally(() => (wanted = null));
  ws.ended = new Promise((resolve) => {
    ws.on("close", (code, reason) => resolve(`${code} ${JSON.stringify(reason.toString())}`));
  });
  return new Promise((resolve, reject) => {
    ws.on("open", () => resolve(ws));
    ws.on("unexpected-response", (_, response) => {
      let body = "";
      response.on("data", (data) => (body += data));
      response.on("end", () => reject(new Error(`${response.statusCode} ${JSON.stringify(body)}`)));
    });
    ws.on("error", reject);
  });
}

async function echoed(ws, message) {
  ws.send(message);
  const { data, binary } = await ws.next();
  assert.deepStrictEqual([data, binary], [Buffer.from(message), typeof message !== "string"]);
  return digest(data);
}

async function closing(ws, outcome) {
  ws.close();
  await ws.ended;
  return outcome;
}

const cases = {
  async text() {
    const ws = await open();
    const seen = [];
    for (const m of ["hello", "", "ü☺😈".repeat(1000), "x".repeat(65536)]) seen.push(await echoed(ws, m));
    return closing(ws, seen);
  },
  async binary() {
    const ws = await open();
    return closing(ws, [await echoed(ws, Buffer.alloc(0)), await echoed(ws, Buffer.alloc(70_000, 7))]);
  },
  async compression() {
    const on = await open();
    const off = await open("/", { perMessageDeflate: false });
    assert.deepStrictEqual([on.extensions !== "", off.extensions], [true, ""]);
    const repeated = "again and again ".repeat(10_000);
    const seen = [await echoed(on, repeated), await echoed(off, repeated)];
    return closing(off, await closing(on, seen));
  },
  async fragments_up() {
    const ws = await open();
    for (let n = 0; n < 100; n++) ws.send(`part ${n} `, { fin: n === 99 });
    return closing(ws, digest((await ws.next()).data));
  },
  async fragments_down() {
    const ws = await open();
    ws.send("fragments 50");
    return closing(ws, digest((await ws.next()).data));
  },
  async pings_both_ways() {
    const ws = await open();
    const pong = new Promise((resolve) => ws.once("pong", resolve));
    ws.ping("payload");
    const seen = [(await pong).toString()];
    ws.send("ping hello");
    seen.push((await ws.next()).data.toString());
    return closing(ws, seen);
  },
  async large() {
    const ws = await open("/", { perMessageDeflate: false });
    return closing(ws, await echoed(ws, Buffer.alloc(16 << 20, "0123456789abcdef-")));
  },
  async close_codes_from_the_server() {
    const seen = [];
    for (const command of ["close 1000", "close 1001 leaving", "close 1008 policy", "close 3000", "close 4999 ü"]) {
      const ws = await open();
      ws.send(command);
      seen.push(await ws.ended);
    }
    return seen;
  },
  async close_codes_from_the_client() {
    const seen = [];
    for (const [code, reason] of [[1000, ""], [1001, "leaving"], [3000, "x".repeat(123)], [4999, "ü"]]) {
      const ws = await open();
      ws.close(code, reason);
      seen.push(await ws.ended);
    }
    const ws = await open();
    ws.close();
    return [...seen, await ws.ended];
  },
  async broken_off() {
    const ws = await open();
    ws.send("drop");
    const ended = await ws.ended;
    assert.strictEqual(ended, '1006 ""');
    return ended;
  },
  async invalid_utf8() {
    const ws = await open("/", { perMessageDeflate: false });
    // A text frame of two bytes that are not UTF-8, with a mask of zeros.
    ws._socket.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]));
    const ended = (await ws.ended).slice(0, 4);
    assert.strictEqual(ended, "1007");
    return ended;
  },
  async the_handshake_arrives() {
    const options = { origin: "http://origin.test", headers: { "X-Custom": "kept as it is" } };
    const ws = await open("/a/b%20c?d=e&f", options, ["chat.v0", "chat.v1"]);
    ws.send("seen");
    return closing(ws, `${ws.protocol} ${(await ws.next()).data}`);
  },
  async a_refusal_is_told() {
    try {
      await open("/refuse");
    } catch (error) {
      assert.match(error.message, /^403 /);
      return error.message;
    }
    throw new Error("accepted");
  },
  async many_at_once() {
    const one = async (number) => {
      const ws = await open();
      return closing(ws, await echoed(ws, `message ${number}`));
    };
    const all = await Promise.all(Array.from({ length: 200 }, (_, n) => one(n)));
    return digest(all.join());
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
      outcome = JSON.stringify(await Promise.race([run(), late]));
    } catch (error) {
      outcome = `FAIL ${String(error.message).replace(/\s+/g, " ")}`;
    }
    clearTimeout(timer);
    console.log(`${name}\t${outcome}`);
  }
  process.exit(0);
}

main();
