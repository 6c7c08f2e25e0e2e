// A server of events that sends none before the one in front of it was acknowledged, by another
// request, so that whatever holds one back holds back all. `sse_server.js 1` speaks HTTP/1.1,
// `sse_server.js 2` HTTP/2. Each caller has a name of its own, `id`:
//
// GET /events?id=&n=         the events 1 to n; the one after `last-event-id` is the first
// GET /events?…&part=        only so many, and then the end, after which the caller is to come again
// GET /events?…&size=        each with as many bytes
// POST /acknowledge?id=&event=   the event has arrived
// GET /came?id=              how often it came, and after which event
// GET /left?id=              once the caller has gone away amid the events: `left`
// GET /nothing               204, which forbids coming again
"use strict";
const { createServer } = require(process.argv[2] === "2" ? "http2" : "http");

const callers = new Map();

function callerOf(id) {
  if (!callers.has(id)) {
    const caller = { came: [], acknowledged: new Map() };
    caller.left = new Promise((resolve) => (caller.leave = resolve));
    callers.set(id, caller);
  }
  return callers.get(id);
}

// A promise that ends with the acknowledgement, whichever of the two is asked for first.
function acknowledgement(caller, event) {
  if (!caller.acknowledged.has(event)) {
    const it = {};
    it.given = new Promise((resolve) => (it.give = resolve));
    caller.acknowledged.set(event, it);
  }
  return caller.acknowledged.get(event);
}

async function send(caller, query, request, response) {
  const [count, part, size] = ["n", "part", "size"].map((name) => Number(query.get(name)));
  const after = Number(request.headers["last-event-id"] ?? 0);
  caller.came.push(after);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write("retry: 10\n\n");
  const last = part ? Math.min(count, after + part) : count;
  for (let event = after + 1; event <= last; event++) {
    const data = size ? "x".repeat(size) : `event ${event}\ndata: of ${count}`;
    response.write(`: a comment\nevent: counted\nid: ${event}\ndata: ${data}\n\n`);
    await acknowledgement(caller, event).given;
  }
  response.end();
}

async function answer(request, response) {
  const url = new URL(request.url, "http://server");
  const caller = callerOf(url.searchParams.get("id"));
  const tell = (status, text) => response.writeHead(status).end(text);
  switch (`${request.method} ${url.pathname}`) {
    case "GET /events":
      response.on("close", () => response.writableEnded || caller.leave("left"));
      return send(caller, url.searchParams, request, response);
    case "POST /acknowledge":
      acknowledgement(caller, Number(url.searchParams.get("event"))).give();
      return tell(204);
    case "GET /came":
      return tell(200, caller.came.join());
    case "GET /left":
      return tell(200, await caller.left);
    case "GET /nothing":
      return tell(204);
    default:
      return tell(404);
  }
}

const server = createServer(answer);
server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
