// The page: every figure on it is a live query of the official browser client, and nothing asks twice.

const { players, guesses, rounds, words, embeddings } = convex.anyApi;
const client = new convex.ConvexClient(location.origin);
const byId = (id) => document.getElementById(id);
const figure = (number) => number.toLocaleString("en");
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// Live queries by what they are for: another one for the same purpose takes the place of the one before.

const watched = new Map();

function watch(purpose, query, args, show) {
  const key = JSON.stringify(args);
  if (watched.get(purpose)?.key === key) return;
  watched.get(purpose)?.end();
  watched.set(purpose, { key, end: client.onUpdate(query, args, show, complain) });
}

// Who plays. A window is a guest: another one is another, so that two can play on one machine.

let me = null; // what players:me says
let round = null; // and rounds:current

function signIn(token) {
  sessionStorage.setItem("token", token);
  client.setAuth(async () => token, (isAuthenticated) => { if (!isAuthenticated) signOut(); });
  ask(null);
}

function signOut() {
  sessionStorage.removeItem("token");
  ask("join");
}

function ask(what) {
  byId("join").hidden = what !== "join";
  byId("guess").hidden = what !== "guess";
  byId("standing").hidden = byId("yours").hidden = byId("proposing").hidden = what === "join";
  if (what !== null) byId(what === "join" ? "name" : "word").focus({ preventScroll: true });
}

byId("join").onsubmit = async (event) => {
  event.preventDefault();
  const name = byId("name").value;
  complain();
  try {
    const joined = await client.action(players.join, { name });
    localStorage.setItem("name", name);
    signIn(joined.token);
  } catch (error) {
    complain(error, byId("enter"));
  }
};

// What went wrong. A refusal for being too quick says when it is over, and the button waits for that.

function complain(error, button) {
  const data = error?.data;
  if (data?.kind === "RateLimited" && button) wait(button, Date.now() + data.retryAfter);
  else byId("notice").textContent = error ? data?.message ?? error.message : "";
}

const isOwn = () => me !== null && round?.proposer === me.player;
const isShut = () => round?.state !== "open" || isOwn();

function wait(button, until) {
  const text = button.dataset.text ??= button.textContent;
  const left = Math.ceil((until - Date.now()) / 1000);
  button.disabled = left > 0 || (button === byId("submit") && isShut());
  button.textContent = left > 0 ? `in ${left} s` : text;
  byId("notice").textContent = left > 0 ? "That was quick! Take a breath." : "";
  clearTimeout(button.timer);
  button.timer = null;
  if (left > 0) button.timer = setTimeout(() => wait(button, until), Math.min(250, until - Date.now()));
}

// Guessing.

const HEATS = [[1000, "is the word!"], [730, "is burning"], [600, "is hot"], [460, "is warm"], [330, "is cool"], [200, "is cold"], [0, "is freezing"]];
const heatOf = (score) => HEATS.find(([from]) => score >= from)[1];
const colourOf = (score) => `hsl(${210 + (Math.min(score, 850) / 850) * 165} 62% 50%)`;

byId("guess").onsubmit = async (event) => {
  event.preventDefault();
  const word = byId("word").value;
  complain();
  try {
    const outcome = await client.action(guesses.guess, { word });
    byId("word").value = "";
    show(outcome);
  } catch (error) {
    complain(error, byId("submit"));
  }
};

function show({ word, score, rank, is_best, is_repeated }) {
  const card = byId("outcome");
  card.hidden = false;
  card.style.setProperty("--heat", colourOf(score));
  byId("outcome-word").textContent = word;
  byId("outcome-heat").textContent = heatOf(score);
  byId("outcome-score").textContent = score;
  byId("outcome-rank").textContent =
    `${is_repeated ? "You had that before. " : is_best ? "Your best so far. " : ""}You are number ${rank} in this round.`;
  card.classList.remove("new");
  card.getBoundingClientRect();
  card.classList.add("new");
}

byId("propose").onsubmit = async (event) => {
  event.preventDefault();
  complain();
  try {
    await client.mutation(words.propose, { word: byId("proposal").value });
    byId("proposal").value = "";
  } catch (error) {
    complain(error, byId("send"));
  }
};

// Lists: what was there keeps its element, what is new or has changed lights up.

function draw(list, rows, keyOf, lineOf) {
  const isFirst = list.lines === undefined;
  const before = list.lines ?? new Map();
  list.lines = new Map();
  const order = rows.map((row) => {
    const key = keyOf(row), text = JSON.stringify(row), there = before.get(key);
    const line = there?.text === text ? there.line : lineOf(row);
    if (there?.text !== text && !isFirst) {
      line.classList.add("changed");
      line.onanimationend = () => line.classList.remove("changed");
    }
    list.lines.set(key, { text, line });
    return line;
  });
  // Only what has moved is put in again: else what still lights up would begin anew.
  order.forEach((line, at) => { if (list.children[at] !== line) list.insertBefore(line, list.children[at] ?? null); });
  while (list.children.length > order.length) list.lastChild.remove();
}

function bar(label, score) {
  const line = make("li", {}, label, make("span", { className: "score", textContent: score }));
  line.style.setProperty("--heat", colourOf(score));
  line.style.setProperty("--part", `${score / 10}%`);
  return line;
}

function board(id, rows) {
  draw(byId(id), rows, (row) => row.player, (row) => make("li", { className: row.player === me?.player ? "me" : "" },
    make("span", { className: "rank", textContent: row.rank }),
    make("span", { className: "name", textContent: row.word === null ? row.name : `${row.name} · ${row.word}` }),
    make("span", { className: "score", textContent: figure(row.score) })));
}

const recentLabel = ({ name, word }) => make("span", {}, make("b", { textContent: name }),
  word === null ? make("span", { className: "secret", textContent: " guessed something" }) : make("span", { textContent: ` guessed ${word}` }));

// The round.

function showRound(found) {
  if (found === null) return;
  if (round !== null && found.id !== round.id) {
    byId("outcome").hidden = true;
    complain();
  }
  round = found;
  byId("number").textContent = `word no. ${round.number}${round.proposed_by === null ? "" : `, by ${round.proposed_by}`}`;
  showTurn();
  byId("hint").hidden = round.hint === null || round.state !== "open";
  byId("hint").replaceChildren("It looks like", make("b", { textContent: round.hint ?? "" }));
  const isOver = round.state === "announced";
  byId("told").hidden = !isOver;
  byId("told-word").textContent = round.word ?? "";
  byId("podium").replaceChildren(...round.results.map(({ player, word, score }) => make("li", { textContent: `${player} · ${word} · ${score}` })));
  watch("leaders", rounds.leaders, { round: round.id }, (rows) => board("leaders", rows));
  watch("place", rounds.place, { round: round.id }, (place) => (byId("place").textContent = place ?? "–"));
  tick();
}

function showTurn() {
  if (!byId("submit").timer) byId("submit").disabled = isShut();
  byId("word").placeholder = isOwn() ? "this word is yours: watch the others" : "any English word";
}

function tick() {
  if (round === null) return;
  const left = Math.max(0, Math.round((round.closes - Date.now()) / 1000));
  const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60].map((part) => String(part).padStart(2, "0"));
  byId("clock").textContent = round.state === "open" ? `${round.found ? "found! " : ""}${hours}:${minutes}:${seconds}` : round.state === "closed" ? "counting …" : "over";
  byId("clock").classList.toggle("soon", left < 60);
}

setInterval(tick, 1000);

// From the start.

byId("name").value = localStorage.getItem("name") ?? "";
let token = sessionStorage.getItem("token");
if (token === null) ask("join");
else signIn(token);

watch("me", players.me, {}, (found) => {
  me = found;
  if (me === null && token !== null) signOut(); // a token of a game whose data are gone
  token = null;
  if (me === null) return;
  if (byId("guess").hidden) ask("guess");
  byId("who").textContent = me.name;
  byId("rank").textContent = me.rank;
  showTurn();
});
watch("round", rounds.current, {}, showRound);
watch("totals", guesses.totals, {}, (totals) => {
  byId("total").textContent = figure(totals.guesses);
  byId("of-round").textContent = figure(totals.of_round);
  byId("players").textContent = figure(totals.players);
  byId("mine").textContent = totals.mine ? `${figure(totals.mine)} ever` : "";
});
watch("recent", guesses.recent, { count: 8 }, (rows) => {
  draw(byId("recent"), rows, (row) => row.id, (row) => bar(recentLabel(row), row.score));
  byId("quiet").hidden = rows.length > 0;
});
watch("mine", guesses.mine, { count: 8 }, (rows) => draw(byId("guesses"), rows, (row) => row.word, (row) => bar(make("b", { textContent: row.word }), row.score)));
watch("best", players.best, { count: 8 }, (rows) => board("best", rows));
const STATES = { checking: "being looked up", ready: "comes soon", used: "was used", unknown: "nobody knows it", failed: "could not be looked up" };
watch("proposed", words.proposed, {}, (rows) => byId("proposed").replaceChildren(...rows.map(({ word, state }) =>
  make("li", {}, make("b", { textContent: word }), make("span", { textContent: STATES[state] })))));
watch("past", rounds.past, { count: 5 }, (rows) => {
  byId("past-card").hidden = rows.length === 0;
  byId("past").replaceChildren(...rows.map(({ word, results }) =>
    make("li", {}, make("b", { textContent: word }), make("span", { textContent: results.length ? `${results[0].player}, ${results[0].score}` : "nobody" }))));
});
watch("model", embeddings.model, {}, ({ words, is_whole }) => byId("model").replaceChildren(
  "Meaning is measured by GloVe word vectors. ",
  ...(is_whole ? [`All ${figure(words)} words of GloVe 6B are in use.`]
    : [`In use are the ${figure(words)} words that come with the game; `, make("code", { textContent: "make run WORDS=glove" }), " knows 400,000."])));

client.subscribeToConnectionState(({ isWebSocketConnected }) => {
  byId("live").classList.toggle("on", isWebSocketConnected);
  byId("live").textContent = isWebSocketConnected ? "live" : "connecting";
});
client.mutation(rounds.ensure, {}).catch(complain);
