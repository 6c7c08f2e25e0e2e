// A WebSocket server by ws. It does what ws_server.py says.
"use strict";
const http = require("http");
const { WebSocketServer } = require("ws");

const SEEN = ["origin", "x-custom", "sec-websocket-protocol"];

function handle(socket, request) {
  socket.on("error", () => {});
  socket.on("message", (data, binary) => {
    const [command, argument, ...rest] = binary ? [""] : data.toString().split(" ");
    if (command === "close") {
      socket.close(Number(argument), rest.join(" "));
    } else if (command === "drop") {
      socket.terminate();
    } else if (command === "ping") {
      socket.once("pong", (payload) => socket.send(`pong ${payload}`));
      socket.ping(argument);
    } else if (command === "fragments") {
      const count = Number(argument);
      for (let n = 0; n < count; n++) socket.send(`${n} `, { fin: n === count - 1 });
    } else if (command === "seen") {
      const headers = SEEN.map((name) => `${name}=${request.headers[name] ?? "None"}`);
      socket.send(`${request.url} ${headers.join(" ")}`);
    } else {
      socket.send(data, { binary });
    }
  });
}

const server = http.createServer();
const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 17 << 20,
  perMessageDeflate: true,
  handleProtocols: (offered) => (offered.has("chat.v1") ? "chat.v1" : false),
});
server.on("upgrade", (request, socket, head) => {
  if (request.url === "/refuse") {
    const body = "not for you\n";
    const head = `HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    socket.end(head + body);
    return;
  }
  sockets.handleUpgrade(request, socket, head, (ws) => handle(ws, request));
});
server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
