// The page: every figure on it is a live query of the official browser client, and nothing asks twice.

const PAGE = 25;
const CARRIERS = {
  "9E": "Endeavor", AA: "American", AS: "Alaska", B6: "JetBlue", DL: "Delta", EV: "ExpressJet", F9: "Frontier", FL: "AirTran",
  HA: "Hawaiian", MQ: "Envoy", OO: "SkyWest", UA: "United", US: "US Airways", VX: "Virgin America", WN: "Southwest", YV: "Mesa",
};

const { flights, delays } = convex.anyApi;
const client = new convex.ConvexClient(location.origin);
const byId = (id) => document.getElementById(id);
const choice = byId("choice").elements;

const clock = (time) => `${String(Math.floor(time / 100) % 24).padStart(2, "0")}:${String(time % 100).padStart(2, "0")}`;
const figure = (number) => number.toLocaleString("en");
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// Live queries by what they are for: another one for the same purpose takes the place of the one before.

const watched = new Map();

function watch(purpose, query, args, show) {
  watched.get(purpose)?.();
  watched.set(purpose, client.onUpdate(query, args, show, notice));
}

function notice(error) {
  byId("notice").textContent = error?.data?.code ?? error?.message ?? "";
}

// The board.

const lines = new Map(); // by flight: the row of the table, and what it shows

function statusOf(delay) {
  if (delay === null) return ["cancelled", "cancelled"];
  if (delay >= 60) return [`+${delay} min`, "very-late"];
  if (delay >= 15) return [`+${delay} min`, "late"];
  if (delay > 0) return [`+${delay} min`, "slipped"];
  return [delay < 0 ? `${-delay} min early` : "on time", ""];
}

function newLine(row) {
  const aircraft = make("button", { className: "aircraft", type: "button", textContent: row.tail_number, onclick: () => watchAircraft(row.tail_number) });
  const report = make("button", { type: "button", textContent: "+15", title: "Report 15 more minutes of delay" });
  report.setAttribute("aria-label", `Report 15 more minutes of delay for ${row.carrier} ${row.flight}`);
  const line = make("tr", {},
    make("td", { className: "scheduled", textContent: clock(row.sched_dep_time) }),
    make("td", { textContent: `${row.carrier} ${row.flight}`, title: CARRIERS[row.carrier] ?? "" }),
    make("td", { textContent: row.destination }),
    make("td", { className: "wide" }, row.tail_number === null ? "" : aircraft),
    make("td", { className: "expected" }),
    make("td", { className: "status" }),
    make("td", {}, report));
  line.dataset.id = row._id;
  return { line, report, delay: undefined };
}

function fill(shown, row) {
  if (shown.delay === row.dep_delay) return;
  const isChange = shown.delay !== undefined;
  shown.delay = row.dep_delay;
  const [text, className] = statusOf(row.dep_delay);
  shown.line.className = className;
  if (isChange) {
    shown.line.getBoundingClientRect(); // else an animation that is running would go on rather than start anew
    shown.line.classList.add("changed");
  }
  shown.line.querySelector(".expected").textContent = row.dep_time === null ? "" : clock(row.dep_time);
  shown.line.querySelector(".status").textContent = text;
  shown.report.onclick = () => report(row);
}

function draw(rows) {
  const ids = new Set(rows.map((row) => row._id));
  for (const id of lines.keys()) if (!ids.has(id)) lines.delete(id);
  for (const row of rows) {
    if (!lines.has(row._id)) lines.set(row._id, newLine(row));
    fill(lines.get(row._id), row);
  }
  const body = byId("board");
  const order = rows.map((row) => lines.get(row._id).line);
  // Only when they are others: a row that is put in again loses the keyboard's focus.
  if (order.length !== body.rows.length || order.some((line, at) => line !== body.rows[at])) body.replaceChildren(...order);
}

function report(row) {
  notice();
  client.mutation(flights.reportDelay, { flight: row._id, minutes: Math.max(0, row.dep_delay ?? 0) + 15 }).catch(notice);
}

function watchBoard(numItems = PAGE) {
  notice();
  const args = { origin: choice.origin.value, date: choice.date.value, paginationOpts: { numItems, cursor: null } };
  watch("board", flights.board, args, ({ page, isDone }) => {
    draw(page);
    byId("empty").hidden = page.length > 0;
    byId("more").hidden = isDone;
    byId("more").onclick = () => watchBoard(numItems + PAGE);
  });
}

// Beside it.

function watchCarrier() {
  const carrier = byId("carrier").value;
  watch("of carrier", flights.total, { carrier }, (total) => (byId("of-carrier").textContent = figure(total)));
  watch("worst", flights.worst, { carrier, count: 5 }, (rows) => byId("worst").replaceChildren(...rows.map((row) =>
    make("li", {}, make("span", { textContent: `${row.date.slice(5)} ${row.origin} → ${row.destination}` }), make("span", { textContent: statusOf(row.dep_delay)[0] })))));
  watch("day", flights.carrierDay, { carrier, date: choice.date.value }, (day) => {
    byId("day-flights").textContent = figure(day.flights);
    byId("day-late").textContent = figure(day.late);
    byId("day-cancelled").textContent = figure(day.cancelled);
    byId("day-mean").textContent = day.mean_delay === null ? "–" : `${day.mean_delay.toFixed(1)} min`;
  });
}

function watchAircraft(tailNumber) {
  byId("aircraft").hidden = false;
  byId("tail").textContent = tailNumber;
  watch("aircraft", flights.ofAircraft, { tailNumber, since: choice.date.value, count: 8 }, (rows) => byId("hops").replaceChildren(...rows.map((row) =>
    make("li", {}, make("span", { textContent: `${row.date.slice(5)} ${clock(row.sched_dep_time)}` }), make("span", { textContent: `${row.origin} → ${row.destination}` })))));
}

function drawLeaderboard(standings) {
  const isChosen = (carrier) => carrier === byId("carrier").value;
  byId("leaderboard").replaceChildren(...standings.map(({ rank, carrier, flights, mean_delay, median_delay }) =>
    make("li", { className: isChosen(carrier) ? "chosen" : "", title: `${CARRIERS[carrier] ?? carrier}: ${figure(flights)} flights left` },
      make("span", { textContent: `${rank}. ${carrier}` }),
      make("span", { className: "median", textContent: `median ${median_delay}` }),
      make("span", { textContent: `${mean_delay.toFixed(2)} min` }))));
}

let standings = [];

function watchLeaderboard() {
  watch("leaderboard", delays.leaderboard, {}, (found) => drawLeaderboard((standings = found)));
  watch("ranked", delays.ranked, {}, ({ flights, of, is_done, error }) => {
    byId("ranked").hidden = is_done || of === 0;
    byId("ranked").textContent = `${figure(flights)} of ${figure(of)} flights so far${error ? `: ${error}` : ""}`;
  });
}

// What is chosen is kept in the address, so that it can be sent to somebody.

function choose() {
  const chosen = new URLSearchParams({ origin: choice.origin.value, date: choice.date.value, carrier: byId("carrier").value });
  history.replaceState(null, "", `?${chosen}`);
  if (choice.date.validity.valid) {
    watchBoard();
    watchCarrier();
    drawLeaderboard(standings);
    if (!byId("aircraft").hidden) watchAircraft(byId("tail").textContent);
  }
}

function step(days) {
  if (days > 0) choice.date.stepUp(days);
  else choice.date.stepDown(-days);
  choose();
}

byId("carrier").append(...Object.entries(CARRIERS).map(([code, name]) => new Option(`${code} · ${name}`, code)));
const asked = { origin: "EWR", date: "2013-01-01", carrier: "UA", ...Object.fromEntries(new URLSearchParams(location.search)) };
choice.origin.value = asked.origin;
choice.date.value = asked.date;
byId("carrier").value = asked.carrier;
byId("choice").onsubmit = (event) => event.preventDefault();
byId("choice").onchange = byId("carrier").onchange = choose;
byId("before").onclick = () => step(-1);
byId("after").onclick = () => step(1);

client.subscribeToConnectionState(({ isWebSocketConnected }) => {
  byId("live").classList.toggle("on", isWebSocketConnected);
  byId("live").textContent = isWebSocketConnected ? "live" : "connecting";
});
watch("total", flights.total, {}, (total) => (byId("total").textContent = figure(total)));
watchLeaderboard();
choose();
