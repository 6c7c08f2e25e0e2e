"use strict";
// A clock card: what state its stream is in, and what came. A stream that says nothing for
// three seconds is called silent, because a tunnel may be holding it for us.
class Card {
  constructor(id) {
    this.root = document.getElementById(id);
    this.pill = this.root.querySelector(".pill");
    this.time = this.root.querySelector("time");
    this.beat = this.root.querySelector(".beat");
    this.ticks = 0;
    this.opened = 0;
    this.since = null;
    this.heard = null;
    setInterval(() => this.watch(), 1000);
  }
  show(field, text) {
    const place = this.root.querySelector(`[data-show=${field}]`);
    if (place) place.textContent = text;
  }
  state(name, text) {
    this.root.dataset.state = name;
    if (this.pill.textContent !== text) this.pill.textContent = text;
  }
  open() {
    this.opened += 1;
    this.since = this.heard = Date.now();
    this.show("again", this.opened === 2 ? "once" : `${this.opened - 1} times`);
    this.state("live", "live");
  }
  tick(data) {
    this.ticks += 1;
    this.heard = Date.now();
    this.time.textContent = data.clock.slice(11, 19);
    this.time.dateTime = data.clock;
    this.show("ticks", `${this.ticks} event${this.ticks === 1 ? "" : "s"}`);
    this.mark("");
    this.state("live", "live");
  }
  mark(kind) {
    const bar = document.createElement("i");
    bar.className = kind;
    this.beat.append(bar);
    while (this.beat.childElementCount > 40) this.beat.firstChild.remove();
  }
  lost() {
    this.since = null;
    this.show("since", "–");
    this.show("rtt", "–");
    this.state("lost", "lost, reconnecting");
  }
  watch() {
    const now = Date.now();
    if (this.since === null) { this.mark("gap"); return; }
    this.show("since", span(Math.floor((now - this.since) / 1000)));
    const quiet = Math.floor((now - this.heard) / 1000);
    if (quiet >= 3) {
      this.mark("gap");
      this.state("silent", `nothing for ${span(quiet)}`);
    }
  }
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

function events() {
  const card = new Card("sse");
  const connect = () => {
    const source = new EventSource("/events");
    source.onopen = () => card.open();
    source.onmessage = (event) => card.tick(JSON.parse(event.data));
    // A browser retries by itself only while it gets event streams back.
    source.onerror = () => { source.close(); card.lost(); setTimeout(connect, 1000); };
  };
  connect();
}

function socket() {
  const card = new Card("ws");
  const form = document.getElementById("say");
  const said = document.getElementById("echo");
  const [input, button] = form.elements;
  // What we sent and wait for, oldest first. The service echoes in order.
  let waiting = [];
  let ws = null;
  const send = (text, quiet) => {
    waiting.push({ text, quiet, at: performance.now() });
    ws.send(text);
  };
  const connect = () => {
    waiting = [];
    ws = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/ws");
    ws.onopen = () => { card.open(); button.disabled = false; };
    ws.onmessage = (event) => {
      const echoed = waiting.length > 0 && waiting[0].text === event.data ? waiting.shift() : null;
      if (!echoed) {
        card.tick(JSON.parse(event.data));
        if (waiting.length < 4) send(`ping ${card.ticks}`, true);
        return;
      }
      const ms = performance.now() - echoed.at;
      card.show("rtt", `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);
      if (!echoed.quiet) said.textContent = `“${echoed.text}” came back after ${ms.toFixed(1)} ms`;
    };
    ws.onclose = () => { button.disabled = true; card.lost(); setTimeout(connect, 1000); };
  };
  button.disabled = true;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text || ws.readyState !== WebSocket.OPEN) return;
    send(text, false);
    said.textContent = `“${text}” is on its way`;
    input.value = "";
  });
  connect();
}

events();
socket();
