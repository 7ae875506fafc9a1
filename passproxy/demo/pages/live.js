"use strict";
const find = (id) => document.getElementById(id);
const show = (element, text, mood) => { element.textContent = text; element.className = `state ${mood}`; };

const showFragment = () => { find("fragment").textContent = location.hash; };
addEventListener("hashchange", showFragment);
showFragment();

// The event stream. The browser reconnects by itself after a broken connection, but
// not after an answer such as 401: then only a reload can start a new sign-in.
let source, ticks = 0;
const listen = () => {
  source = new EventSource("/events");
  source.onopen = () => show(find("stream-state"), "Connected", "good");
  source.onmessage = (event) => {
    find("clock").textContent = new Date(JSON.parse(event.data).time).toLocaleTimeString("en-GB");
    find("ticks").textContent = ++ticks;
  };
  source.onerror = () => source.readyState === EventSource.CLOSED
    ? show(find("stream-state"), "Refused: reload the page to sign in", "bad")
    : show(find("stream-state"), "Reconnecting", "");
};
const pause = find("pause");
pause.hidden = false;
pause.onclick = () => {
  const paused = source.readyState !== EventSource.CLOSED;
  if (paused) { source.close(); show(find("stream-state"), "Paused", ""); } else { listen(); }
  pause.textContent = paused ? "Resume" : "Pause";
};
show(find("stream-state"), "Connecting", "");
listen();

// Over HTTP/1.1 a browser keeps six connections to a host, and each open tab's stream
// holds one: those that nobody looks at let go of theirs.
let resumes = false;
addEventListener("visibilitychange", () => {
  if (document.hidden) {
    resumes = source.readyState !== EventSource.CLOSED;
    source.close();
  } else if (resumes) { listen(); }
});

// The WebSocket. Answers come back in order, so the oldest question is the one answered.
let socket, asked = [], waiting = [];
const send = (text) => { asked.push(performance.now()); socket.send(text); };
const connect = () => {
  show(find("socket-state"), "Connecting", "");
  asked = [];
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.onopen = () => {
    show(find("socket-state"), "Connected", "good");
    waiting.splice(0).forEach(send);
  };
  socket.onclose = () => show(find("socket-state"), "Closed: send something to reconnect", "bad");
  socket.onmessage = (event) => {
    const line = document.createElement("li"), text = document.createElement("span"), took = document.createElement("span");
    text.textContent = event.data;
    took.textContent = `${(performance.now() - asked.shift()).toFixed(1)} ms`;
    took.className = "quiet";
    line.append(text, took);
    find("log").prepend(line);
    while (find("log").children.length > 50) find("log").lastChild.remove();
  };
};
find("say").onsubmit = (event) => {
  event.preventDefault();
  const text = find("words").value;
  if (socket.readyState === WebSocket.OPEN) { send(text); return; }
  waiting.push(text);
  if (socket.readyState !== WebSocket.CONNECTING) connect();
};
connect();

find("file").onchange = async () => {
  const [file] = find("file").files, result = find("uploaded"), start = performance.now();
  if (!file) return;
  result.textContent = `Sending ${file.name}`;
  try {
    const answer = await fetch("/echo?digest", { method: "POST", body: file });
    if (!answer.ok) throw new Error(`The answer was ${answer.status}. After a 401, reload the page to sign in.`);
    const { length, sha256 } = await answer.json();
    const seconds = ((performance.now() - start) / 1000).toPrecision(2);
    result.textContent = `${length.toLocaleString("en")} bytes arrived in ${seconds} s, SHA-256 ${sha256}`;
  } catch (error) {
    result.textContent = error.message;
  }
};
