// A server that is killed when a mutation has committed and nobody has been told, and then started again.
import test from "node:test";
import { api, assert, connect, http, until, watch } from "./harness.mjs";

test("what was sent is done exactly once, and what was on screen goes on", async (t) => {
  const client = connect(t);
  await http().mutation(api.items.fill, { list: "crash", ranks: [0, 1, 2, 3, 4, 5] });
  const counter = watch(client, api.counter.get, { name: "crash" });
  const page = watch(client, api.items.page, { list: "crash", paginationOpts: { numItems: 3, cursor: null, id: 1 } });
  await until(() => counter.last() === 0 && page.last());
  const action = client.action(api.echoes.echoAction, { wait: 60 });
  const rejected = assert.rejects(action, /[Cc]onnection lost/);
  const results = await Promise.all([1, 2, 3].map((n) => client.mutation(api.counter.add, { name: "crash", n })));
  await rejected;
  assert.deepEqual(results, [1, 3, 6], "the first was not done again when it was sent again");
  assert.equal(counter.last(), 6);
  assert.deepEqual(counter.seen, [...counter.seen].sort((a, b) => a - b), "time never ran backwards");
  await http().mutation(api.items.fill, { list: "crash", ranks: [0.5] });
  await until(() => page.last().page.length === 4, "the page keeps its end over the restart");
  assert.deepEqual(page.last().page.map((item) => item.rank), [0, 0.5, 1, 2]);
  assert.deepEqual([...counter.errors, ...page.errors], []);
});
