// The client of the npm package that holds a socket.
import test from "node:test";
import { ConvexError } from "convex/values";
import { BaseConvexClient } from "convex/browser";
import ws from "ws";
import { adminKey, api, assert, connect, fresh, http, keeper, until, url, watch } from "./harness.mjs";

test("a subscriber sees the new value before the mutation is done", async (t) => {
  const client = connect(t);
  const name = fresh("socket");
  const counter = watch(client, api.counter.get, { name });
  await until(() => counter.last() === 0);
  assert.equal(await client.mutation(api.counter.add, { name, n: 5 }), 5);
  assert.deepEqual(counter.seen, [0, 5]);
  await http().mutation(api.counter.add, { name });
  await until(() => counter.last() === 6);
  assert.deepEqual(counter.seen, [0, 5, 6]);
  assert.deepEqual(counter.errors, []);
});

test("everybody hears of it, and nobody of what he does not look at", async (t) => {
  const name = fresh("many");
  const watched = Array.from({ length: 10 }, () => watch(connect(t), api.counter.get, { name }));
  const other = watch(connect(t), api.counter.get, { name: fresh("other") });
  await until(() => [...watched, other].every((each) => each.last() === 0));
  await http().mutation(api.counter.add, { name });
  await until(() => watched.every((each) => each.last() === 1));
  assert.deepEqual(other.seen, [0]);
});

test("log lines are printed", async (t) => {
  const logger = keeper();
  const client = connect(t, { logger });
  await client.mutation(api.counter.add, { name: fresh("log"), n: 7 });
  assert.ok(logger.lines.some(([, line]) => line.includes("adding 7")), JSON.stringify(logger.lines));
});

test("queries, mutations and actions once", async (t) => {
  const client = connect(t);
  const name = fresh("once");
  assert.equal(await client.query(api.counter.get, { name }), 0);
  assert.equal(await client.action(api.counter.addTwice, { name, n: 2 }), 4);
  assert.equal(await client.query(api.counter.get, { name }), 4);
  assert.equal(await client.mutation(api.counter.touchNothing, {}), "nothing");
});

test("mutations are done in the order sent", async (t) => {
  const client = connect(t);
  const name = fresh("order");
  const results = await Promise.all(Array.from({ length: 50 }, () => client.mutation(api.counter.add, { name })));
  assert.deepEqual(results, Array.from({ length: 50 }, (_, n) => n + 1));
});

test("actions do not wait for each other", async (t) => {
  const client = connect(t);
  const done = [];
  const slow = client.action(api.echoes.echoAction, { value: "slow", wait: 0.4 }).then((value) => done.push(value));
  await client.action(api.echoes.echoAction, { value: "quick" }).then((value) => done.push(value));
  await slow;
  assert.deepEqual(done, ["quick", "slow"]);
});

test("errors of each kind", async (t) => {
  const client = connect(t);
  for (const data of [{ a: [1n] }, null, "text"]) {
    const failing = watch(client, api.echoes.failQuery, { how: "data", data });
    await until(() => failing.errors.length);
    assert.ok(failing.errors[0] instanceof ConvexError);
    assert.deepEqual(failing.errors[0].data, data);
    for (const call of [
      () => client.mutation(api.echoes.failMutation, { how: "data", data }),
      () => client.action(api.echoes.failAction, { how: "data", data }),
    ]) {
      await assert.rejects(call(), (error) => error instanceof ConvexError && JSON.stringify(error.data, text) === JSON.stringify(data, text));
    }
  }
  await assert.rejects(client.mutation(api.echoes.failMutation, { how: "plain" }), /plainly wrong/);
  await assert.rejects(client.action(api.echoes.failAction, { how: "plain" }), /plainly wrong/);
  await assert.rejects(client.mutation(api.nothing.here, {}), /Could not find public function/);
  await assert.rejects(client.mutation(api.counter.get, {}), /query/);
  const unknown = watch(client, api.nothing.here);
  const kind = watch(client, api.counter.add);
  await until(() => unknown.errors.length && kind.errors.length);
  assert.match(unknown.errors[0].message, /Could not find public function/);
  assert.match(kind.errors[0].message, /mutation/);
});

const text = (_, value) => (typeof value === "bigint" ? `${value}n` : value);

test("an optimistic update is replaced by the truth", async (t) => {
  const client = new BaseConvexClient(url, () => {}, { logger: keeper(), webSocketConstructor: ws });
  t.after(() => client.close());
  const name = fresh("optimistic");
  client.subscribe("counter:get", { name });
  const value = () => client.localQueryResult("counter:get", { name });
  await until(() => value() === 0);
  const done = client.mutation("counter:add", { name, n: 1 }, {
    optimisticUpdate: (store) => store.setQuery(api.counter.get, { name }, 100),
  });
  assert.equal(value(), 100);
  await done;
  assert.equal(value(), 1);
  const failed = client.mutation("echoes:failMutation", { how: "plain" }, {
    optimisticUpdate: (store) => store.setQuery(api.counter.get, { name }, 100),
  });
  assert.equal(value(), 100);
  await assert.rejects(failed);
  assert.equal(value(), 1);
});

test("subscribing and leaving again at once leaves a good connection", async (t) => {
  const client = connect(t);
  const name = fresh("churn");
  for (let n = 0; n < 30; n++) watch(client, api.counter.get, { name: `${name}-${n}` }).stop();
  const counter = watch(client, api.counter.get, { name });
  await client.mutation(api.counter.add, { name });
  await until(() => counter.last() === 1);
});

test("a result of many megabytes arrives, in parts", async (t) => {
  const client = connect(t);
  for (const [size, letter] of [[4_900_000, "x"], [5_100_000, "x"], [7_000_000, "é"]]) {
    const value = await client.query(api.echoes.big, { size, letter });
    assert.equal(value.length, size);
    assert.equal(value[size - 1], letter);
  }
  const value = "y".repeat(10_000_000);
  assert.equal((await client.action(api.echoes.echoAction, { value })).length, value.length);
});

test("an internal function is an admin's to call, and so is a component", async (t) => {
  const client = connect(t);
  const name = fresh("admin");
  await assert.rejects(client.mutation(api.counter.addSecretly, { n: 2, name }), /Could not find public function/);
  client.client.setAdminAuth(adminKey);
  assert.equal(await client.mutation(api.counter.addSecretly, { n: 2, name }), 2);
});

test("a trailing slash in the deployment URL does no harm", async (t) => {
  const client = new (await import("convex/browser")).ConvexClient(`${url}/`, { logger: keeper() });
  t.after(() => client.close());
  assert.equal(await client.query(api.counter.get, { name: "slash" }), 0);
});
