// The official hook of the rate limiter, unmodified: what is left, when it goes on, and that both follow the server.
import test from "node:test";
import { JSDOM } from "jsdom";
import ws from "ws";
import { api, assert, fresh, http, keeper, until, url } from "./harness.mjs";

const dom = new JSDOM("<!doctype html><body></body>", { url: "http://localhost/" });
Object.assign(globalThis, { window: dom.window, document: dom.window.document, navigator: dom.window.navigator });
const { createElement: h } = await import("react");
const { createRoot } = await import("react-dom/client");
const { ConvexProvider, ConvexReactClient } = await import("convex/react");
const { useRateLimit } = await import("@convex-dev/rate-limiter/react");
const { isRateLimitError } = await import("@convex-dev/rate-limiter");

function Sender({ user, seen, clock }) {
  const { status, check } = useRateLimit(api.letters.getRateLimit, { key: user, count: 1, getServerTimeMutation: clock });
  if (status !== undefined) seen.push({ ...status, left: check(Date.now(), 0).value, at: Date.now() });
  return h("b", null, status === undefined ? "loading" : status.ok ? "ready" : "wait");
}

function show(t, props) {
  const client = new ConvexReactClient(url, { webSocketConstructor: ws, logger: keeper(), unsavedChangesWarning: false });
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  const render = () => root.render(h(ConvexProvider, { client }, h(Sender, { ...props })));
  render();
  t.after(async () => {
    root.unmount();
    await client.close();
  });
  return { place, render };
}

test("the hook shows that a limit is used up, and goes on when it is not", async (t) => {
  const user = fresh("user");
  const seen = [];
  const { place, render } = show(t, { user, seen });
  await until(() => place.textContent === "ready");
  assert.equal(seen.at(-1).left, 3);
  for (let sent = 0; sent < 3; sent++) await http().mutation(api.letters.send, { user });
  await until(() => place.textContent === "wait");
  const waiting = seen.at(-1);
  assert.ok(waiting.retryAt > waiting.at && waiting.retryAt <= waiting.at + 2_100, JSON.stringify(waiting));
  const refused = await http().mutation(api.letters.send, { user }).then(() => undefined, (error) => error);
  assert.ok(isRateLimitError(refused), `${refused}`);
  assert.equal(refused.data.name, "send");
  assert.ok(refused.data.retryAfter > 0 && refused.data.retryAfter <= 2_000);
  // Its own timer goes on, unless Node, on a busy machine, lets it come a moment early: then the next rendering does.
  const late = setTimeout(render, waiting.retryAt - Date.now() + 500);
  t.after(() => clearTimeout(late));
  await until(() => place.textContent === "ready");
  await http().mutation(api.letters.send, { user });
});

test("with the time of the server the hook says the same", async (t) => {
  const user = fresh("user");
  const seen = [];
  const before = Date.now();
  const time = await http().mutation(api.letters.getServerTime, {});
  assert.ok(time >= before - 1 && time <= Date.now() + 1);
  const { place } = show(t, { user, seen, clock: api.letters.getServerTime });
  await until(() => place.textContent === "ready");
  for (let sent = 0; sent < 3; sent++) await http().mutation(api.letters.send, { user });
  await until(() => place.textContent === "wait");
  assert.ok(Math.abs(seen.at(-1).retryAt - seen.at(-1).at - 2_000) < 1_000);
});
