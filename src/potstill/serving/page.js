"use strict";
const EVERY = 2000, WIDTH = 400, HEIGHT = 150, LEFT = 44, BOTTOM = 20, TOP = 10;
const at = id => document.getElementById(id);
const put = (id, text) => { at(id).textContent = text; };
const whole = n => Math.round(n).toLocaleString("en-US");
const short = n => n === null || n === undefined ? "–" : n >= 100 ? whole(n) : Number.isInteger(n) ? String(n) : n >= 10 ? n.toFixed(1) : n >= 1 ? n.toFixed(2) : n.toFixed(3);
const percent = share => `${(100 * share).toFixed(1)} %`;
const dollars = usd => `$${usd.toLocaleString("en-US", { minimumFractionDigits: usd && usd < 1 ? 3 : 2, maximumFractionDigits: usd && usd < 1 ? 3 : 2 })}`;
const sum = numbers => numbers.reduce((a, b) => a + b, 0);
let key = "";

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A round number that is not below `most`, so that the axis does not tremble with every second.
function round(most) {
  const unit = 10 ** Math.floor(Math.log10(most));
  return unit * [1, 2, 5, 10].find(step => step * unit >= most * 0.9999);
}

// Curves over the last seconds; a null leaves a gap, and a second alone is a dot.
function chart(id, title, curves, least = 1) {
  const values = curves.flatMap(curve => curve.values).filter(value => value !== null), top = round(Math.max(least, ...values));
  const count = curves[0].values.length, x = i => LEFT + (WIDTH - LEFT - 4) * i / (count - 1), y = v => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * v / top;
  const told = curves.map(curve => `${curve.name}: now ${short(curve.values[count - 1])}`).join(", ");
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}; ${told}; the axis ends at ${short(top)}`, class: "plot" });
  for (const share of [0, 0.5, 1]) {
    drawn.append(svg("line", { x1: LEFT, x2: WIDTH - 4, y1: y(top * share), y2: y(top * share), class: share ? "grid" : "axis" }));
    drawn.append(svg("text", { x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end", class: "muted" }, short(top * share)));
  }
  drawn.append(svg("text", { x: LEFT, y: HEIGHT - 4, class: "muted" }, `${count} s ago`), svg("text", { x: WIDTH - 4, y: HEIGHT - 4, "text-anchor": "end", class: "muted" }, "now"));
  for (const curve of curves) {
    let path = "";
    curve.values.forEach((value, i) => {
      if (value === null) return;
      const alone = curve.values[i - 1] === null || i === 0;
      path += `${alone ? "M" : "L"}${x(i).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h.1" : ""}`;
    });
    if (path) drawn.append(svg("path", { d: path, class: `curve ${curve.look}`, "stroke-linecap": "round" }));
  }
  at(id).replaceChildren(drawn);
}

// A row of a table; on a phone, where rows are cards, each cell says its column's name.
function row(cells, titles = []) {
  const made = document.createElement("tr");
  cells.forEach((text, i) => {
    const cell = document.createElement(i ? "td" : "th");
    if (i && !(typeof text === "object")) cell.className = "number";
    if (i && titles[i]) cell.dataset.title = titles[i];
    cell.textContent = typeof text === "object" ? text.words : text;
    made.append(cell);
  });
  return made;
}

function show(found) {
  const { minute, series, parts, queue, names } = found, rows = minute.student + minute.teacher, all = Object.values(names);
  const state = found.stopping ? ["Stopping", "bad"] : !found.ready ? ["Not ready", "unsure"] : minute.refused ? ["Busy", "unsure"] : ["Serving", "good"];
  put("state", state[0]);
  at("head").className = `verdict ${state[1]}`;
  const answered = `${whole(minute.answered)} requests were answered in the last minute`;
  put("standfirst", `${answered}, ${whole(minute.refused)} refused, ${whole(minute.failed)} failed.`);
  put("rate", short(rows / Math.max(1, Math.min(60, found.up_s))));
  put("rate-beside", `${whole(sum(all.map(one => one.rows)))} rows since the start`);
  put("latency", parts.request ? `${short(parts.request.p95)} ms` : "–");
  put("latency-beside", parts.request ? `p50 ${short(parts.request.p50)}, p99 ${short(parts.request.p99)} ms` : "no request in the last minute");
  put("passed", rows ? percent(minute.teacher / rows) : "–");
  put("passed-beside", rows ? `${whole(minute.teacher)} of ${whole(rows)} rows in the last minute` : "no row in the last minute");
  const usd = sum(all.map(one => one.usd)), alone = sum(all.map(one => one.alone_usd));
  put("cost", alone ? dollars(usd) : "–");
  put("cost-beside", alone ? `${dollars(alone)} by the teacher alone` : "no policy names a price");
  chart("chart-rows", "Rows a second", [{ name: "student", values: series.student, look: "student" }, { name: "teacher", values: series.teacher, look: "teacher" }]);
  chart("chart-ms", "Milliseconds of a request", [{ name: "p50", values: series.p50, look: "student" }, { name: "p95", values: series.p95, look: "teacher" }], 0.1);
  chart("chart-wait", "Rows that wait", [{ name: "waiting", values: series.waiting, look: "student" }]);
  chart("chart-refused", "Refused a second", [{ name: "refused", values: series.refused, look: "student" }, { name: "failed", values: series.failed, look: "bad" }]);
  const words = { request: "the whole request", queue: "in the queue", tokenize: "tokenizing", first: "until an answer’s first token", infer: "running the model", teacher: "the teacher" };
  at("parts").replaceChildren(...Object.entries(parts).map(([part, told]) => row([words[part], short(told.p50), short(told.p95), short(told.p99), whole(told.n)])));
  put("queue", `Now ${whole(queue.rows)} rows wait, of ${whole(queue.most_rows)} that may; ${whole(queue.running)} are worked on; requests inside: ${whole(queue.inside)} of ${whole(queue.most_inside)}.`);
  const titles = [...document.querySelectorAll("#models thead th")].map(cell => cell.textContent);
  at("names").replaceChildren(...Object.entries(found.served).map(([name, models]) => {
    const told = names[name] || { rows: 0, passed_on: 0, flagged: {}, usd: 0, alone_usd: 0 };
    const bundles = models.map(one => one.digest.slice(0, 12) + (models.length > 1 ? ` ${percent(one.weight)}` : "")).join(", ");
    const cost = told.alone_usd ? [dollars(told.usd), dollars(told.alone_usd)] : ["–", "–"];
    return row([name, { words: bundles }, whole(told.rows), told.rows ? percent(told.passed_on / told.rows) : "–", whole(sum(Object.values(told.flagged))), ...cost], titles);
  }));
  put("version", found.version);
  put("up", `Up for ${found.up_s < 7200 ? `${whole(found.up_s / 60)} min` : `${whole(found.up_s / 3600)} h`}.`);
}

function complain(words) {
  at("note").hidden = !words;
  put("note", words);
}

async function look() {
  try {
    const answer = await fetch("v1/live", { cache: "no-store", headers: key ? { authorization: `Bearer ${key}` } : {} });
    at("form").hidden = answer.status !== 401;
    if (answer.status === 401) {
      put("state", "Locked");
      put("standfirst", "These numbers are for those who have a key.");
      complain(key ? "This key is not one of the server’s." : "");
      key = "";
      return;
    }
    if (!answer.ok) throw new Error(`the server says ${answer.status}`);
    show(await answer.json());
    complain("");
  } catch (error) {
    complain(`No new numbers since ${new Date().toLocaleTimeString()}: ${error.message}. What is shown is older.`);
  }
}

at("form").addEventListener("submit", event => {
  event.preventDefault();
  key = at("key").value.trim();
  at("key").value = "";
  look();
});

async function go() {
  if (!document.hidden && at("form").hidden) await look();
  setTimeout(go, EVERY);
}
go();
