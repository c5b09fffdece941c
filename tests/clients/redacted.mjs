// What a client learns of errors in production.
import test from "node:test";
import { ConvexError } from "convex/values";
import { api, assert, connect, http, keeper, until, watch } from "./harness.mjs";

test("nothing but an id, and what the author meant to be told", async (t) => {
  const logger = keeper();
  const client = connect(t, { logger });
  const failing = watch(client, api.echoes.failQuery, { how: "plain" });
  await until(() => failing.errors.length);
  const failures = [
    () => client.mutation(api.echoes.failMutation, { how: "plain" }),
    () => client.action(api.echoes.failAction, { how: "plain" }),
    () => http().query(api.echoes.failQuery, { how: "plain" }),
    () => Promise.reject(failing.errors[0]),
  ];
  for (const failure of failures) {
    await assert.rejects(failure(), (error) => /\[Request ID: [0-9a-f]{16}\] Server Error/.test(error.message) && !/plainly|ValueError|echoes\.py/.test(error.message));
  }
  await assert.rejects(client.mutation(api.echoes.failMutation, { how: "data", data: { code: 7 } }), (error) => error instanceof ConvexError && error.data.code === 7);
  await assert.rejects(client.mutation(api.echoes.typed, {}), /query/);
  assert.equal(await client.query(api.counter.get, { name: "quiet" }), 0);
  assert.ok(!logger.lines.some(([, line]) => line.includes("reading quiet")), "log lines stay on the server");
});
