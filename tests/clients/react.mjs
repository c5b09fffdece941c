// Hooks in a page: useQuery, useMutation, usePaginatedQuery, and what is on screen.
import test from "node:test";
import { JSDOM } from "jsdom";
import ws from "ws";
import { api, assert, fresh, http, keeper, token, until, url } from "./harness.mjs";

const dom = new JSDOM("<!doctype html><body></body>", { url: "http://localhost/" });
Object.assign(globalThis, { window: dom.window, document: dom.window.document, navigator: dom.window.navigator });
const { createElement: h, StrictMode, useCallback, useState } = await import("react");
const { createRoot } = await import("react-dom/client");
const { ConvexProvider, ConvexProviderWithAuth, ConvexReactClient, useConvexAuth, useMutation, usePaginatedQuery, useQuery } = await import("convex/react");

function show(t, Component, props = {}, Provider = ConvexProvider, providerProps = {}) {
  const client = new ConvexReactClient(url, { webSocketConstructor: ws, logger: keeper(), unsavedChangesWarning: false });
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  root.render(h(StrictMode, null, h(Provider, { client, ...providerProps }, h(Component, props))));
  t.after(async () => {
    root.unmount();
    await client.close();
  });
  return { place, client, root, text: () => place.textContent, click: (name) => place.querySelector(`[name=${name}]`).click() };
}

function Counter({ name, log }) {
  const value = useQuery(api.counter.get, { name });
  const add = useMutation(api.counter.add).withOptimisticUpdate((store, args) => {
    store.setQuery(api.counter.get, { name }, (store.getQuery(api.counter.get, { name }) ?? 0) + args.n);
  });
  log.push(value);
  return h("div", null, h("b", null, value === undefined ? "loading" : `${value}`), h("button", { name: "add", onClick: () => add({ name, n: 1 }) }));
}

test("a value on screen follows the data, and a click shows at once", async (t) => {
  const name = fresh("react");
  const log = [];
  const page = show(t, Counter, { name, log });
  assert.match(page.text() || "loading", /loading/);
  await until(() => page.text() === "0");
  await http().mutation(api.counter.add, { name, n: 10 });
  await until(() => page.text() === "10");
  page.click("add");
  await until(() => page.text() === "11");
  await until(async () => (await http().query(api.counter.get, { name })) === 11);
  const values = log.filter((value) => value !== undefined);
  assert.deepEqual(values, [...values].sort((a, b) => a - b), "it never went back");
});

function List({ list }) {
  const { results, status, loadMore } = usePaginatedQuery(api.items.page, { list }, { initialNumItems: 3 });
  return h("div", null, h("b", null, `${status}:${results.map((item) => item.rank).join(",")}`), h("button", { name: "more", onClick: () => loadMore(3) }));
}

test("pages on screen are loaded, grow, and end", async (t) => {
  const list = fresh("list");
  await http().mutation(api.items.fill, { list, ranks: [0, 1, 2, 3, 4] });
  const page = show(t, List, { list });
  await until(() => page.text() === "CanLoadMore:0,1,2");
  page.click("more");
  await until(() => page.text() === "Exhausted:0,1,2,3,4");
  await http().mutation(api.items.fill, { list, ranks: [0.5, 9] });
  await until(() => page.text() === "Exhausted:0,0.5,1,2,3,4,9");
  await http().mutation(api.items.fill, { list, ranks: [10, 11, 12, 13, 14, 15, 16, 17] });
  await until(() => page.text() === "Exhausted:0,0.5,1,2,3,4,9,10,11,12,13,14,15,16,17");
});

function Failing() {
  useQuery(api.echoes.failQuery, { how: "data", data: { code: 7 } });
  return null;
}

test("an error of a query is thrown where it is used", async (t) => {
  const caught = [];
  const { Component } = await import("react");
  class Boundary extends Component {
    state = { failed: false };
    static getDerivedStateFromError() {
      return { failed: true };
    }
    componentDidCatch(error) {
      caught.push(error);
    }
    render() {
      return this.state.failed ? h("b", null, "failed") : this.props.children;
    }
  }
  const quiet = console.error;
  console.error = () => {};
  t.after(() => (console.error = quiet));
  const page = show(t, () => h(Boundary, null, h(Failing)));
  await until(() => page.text() === "failed");
  assert.deepEqual(caught[0].data, { code: 7 });
});

function Me() {
  const { isLoading, isAuthenticated } = useConvexAuth();
  const me = useQuery(api.echoes.whoami, isAuthenticated ? {} : "skip");
  return h("b", null, isLoading ? "loading" : isAuthenticated ? `${me?.subject}` : "nobody");
}

test("a page knows who is logged in", async (t) => {
  let setLoggedIn;
  function useAuth() {
    const [isAuthenticated, set] = useState(true);
    setLoggedIn = set;
    const fetchAccessToken = useCallback(async () => token({ sub: "eva" }), []);
    return { isLoading: false, isAuthenticated, fetchAccessToken };
  }
  const page = show(t, Me, {}, ConvexProviderWithAuth, { useAuth });
  await until(() => page.text() === "eva");
  setLoggedIn(false);
  await until(() => page.text() === "nobody");
});
