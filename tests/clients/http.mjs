// The HTTP client of the npm package.
import test from "node:test";
import { ConvexError, convexToJson, jsonToConvex } from "convex/values";
import { adminKey, api, assert, fresh, http, keeper, token, url } from "./harness.mjs";

test("a query, a mutation and an action", async () => {
  const client = http();
  const name = fresh("http");
  assert.equal(await client.query(api.counter.get, { name }), 0);
  assert.equal(await client.mutation(api.counter.add, { name, n: 2.5 }), 2.5);
  assert.equal(await client.action(api.counter.addTwice, { name, n: 1 }), 4.5);
  assert.equal(await client.query(api.counter.get, { name }), 4.5);
  assert.equal(await client.query("counter:get", { name }), 4.5);
});

test("mutations are queued, or sent side by side where asked for", async () => {
  const client = http();
  const name = fresh("queue");
  await Promise.all(Array.from({ length: 20 }, (_, n) => client.mutation(api.counter.add, { name }, { skipQueue: n % 2 === 0 })));
  assert.equal(await client.query(api.counter.get, { name }), 20);
});

test("log lines are printed", async () => {
  const logger = keeper();
  await http({ logger }).query(api.counter.get, { name: "logged" });
  assert.ok(logger.lines.some(([, line]) => line.includes("reading logged")), JSON.stringify(logger.lines));
});

for (const data of [{ code: 7, list: [1n, null] }, null, "text", 5, [], new Uint8Array([1, 255]).buffer]) {
  test(`an error carries ${data === null ? "null" : data.constructor.name} to the client`, async () => {
    const client = http();
    for (const call of [
      () => client.query(api.echoes.failQuery, { how: "data", data }),
      () => client.mutation(api.echoes.failMutation, { how: "data", data }),
      () => client.action(api.echoes.failAction, { how: "data", data }),
    ]) {
      await assert.rejects(call(), (error) => {
        assert.ok(error instanceof ConvexError);
        assert.deepEqual(error.data, data);
        return true;
      });
    }
  });
}

test("other errors are plain, and say what happened", async () => {
  const client = http();
  for (const call of [
    () => client.query(api.echoes.failQuery, { how: "plain" }),
    () => client.mutation(api.echoes.failMutation, { how: "plain" }),
    () => client.action(api.echoes.failAction, { how: "plain" }),
  ]) {
    await assert.rejects(call(), (error) => !(error instanceof ConvexError) && /Server Error\n.*plainly wrong/.test(error.message));
  }
  await assert.rejects(client.query(api.nothing.here), /Could not find public function/);
  await assert.rejects(client.mutation(api.counter.addSecretly, { n: 1 }), /Could not find public function/);
  await assert.rejects(client.query(api.counter.add, {}), /mutation/);
  await assert.rejects(client.query(api.echoes.typed, { n: "x" }), /ArgumentError/);
  await assert.rejects(client.query(api.echoes.typed, { n: 1, more: 1 }), /ArgumentError/);
  await assert.rejects(client.query(api.echoes.wrongResult), /ReturnError/);
  assert.equal(await client.query(api.counter.get, { name: "never" }), 0, "a mutation that failed wrote nothing");
});

test("every value comes back as it went", async () => {
  const client = http();
  const values = [
    null, true, false, 0, -0, 1, -1.5, 1e21, 5e-324, 2 ** 53, Number.MAX_VALUE, NaN, Infinity, -Infinity,
    0n, 1n, -1n, 255n, 2n ** 63n - 1n, -(2n ** 63n), "", "hello", "é😀\0", "$integer",
    new ArrayBuffer(0), new Uint8Array([1, 2, 255]).buffer, new Uint8Array([251, 255, 254]).buffer,
    [], [1, 2n, "x", null, [true]], {}, { b: 1, a: 2, A: 3, _id: "x" }, { "": 1 }, { o: { f: NaN, i: 3n } }, { "10": 1, "9": 2, "a b": 3 },
  ];
  for (const value of values) {
    for (const back of [await client.query(api.echoes.echo, { value }), await client.action(api.echoes.echoAction, { value })]) {
      assert.deepEqual(convexToJson(back), convexToJson(value));
      assert.ok(Object.is(JSON.stringify(convexToJson(jsonToConvex(convexToJson(back)))), JSON.stringify(convexToJson(value))));
    }
  }
});

test("consistent queries read one snapshot", async () => {
  const client = http();
  const name = fresh("consistent");
  await client.mutation(api.counter.add, { name });
  assert.equal(await client.consistentQuery(api.counter.get, { name }), 1);
  await client.mutation(api.counter.add, { name });
  assert.equal(await client.consistentQuery(api.counter.get, { name }), 1, "the client keeps its timestamp");
  assert.equal(await client.query(api.counter.get, { name }), 2);
});

test("tokens and admin keys", async () => {
  const client = http();
  assert.equal(await client.query(api.echoes.whoami), null);
  client.setAuth(token({ name: "Ada" }));
  assert.equal((await client.query(api.echoes.whoami)).tokenIdentifier, "https://login.example|ada");
  assert.equal(await client.mutation(api.echoes.whoamiMutation), "ada");
  client.setAuth("nonsense");
  await assert.rejects(client.query(api.echoes.whoami), (error) => JSON.parse(error.message).code === "InvalidAuthHeader");
  client.setAuth(token({ aud: "others" }));
  await assert.rejects(client.query(api.echoes.whoami), (error) => JSON.parse(error.message).code === "NoAuthProvider");
  client.clearAuth();
  assert.equal(await client.query(api.echoes.whoami), null);

  const admin = http();
  admin.setAdminAuth(adminKey);
  assert.equal(await admin.mutation(api.counter.addSecretly, { n: 3, name: fresh("secret") }), 3);
  assert.equal(await admin.query(api.echoes.whoami), null);
  admin.setAdminAuth(adminKey, { issuer: "i", subject: "éva", name: "Éva" });
  assert.equal((await admin.query(api.echoes.whoami)).subject, "éva");
  const name = fresh("function");
  assert.equal(await admin.function("counter:addSecretly", undefined, { n: 3, name }), 3);
  admin.setAdminAuth(adminKey);
  assert.equal(await admin.function("size", "shelf", {}), await admin.function("size", "shelf", {}));
});

test("a page of another origin may call", async () => {
  const headers = { origin: "https://app.example", "access-control-request-method": "POST", "access-control-request-headers": "content-type,convex-client" };
  const preflight = await fetch(`${url}/api/query`, { method: "OPTIONS", headers });
  assert.ok(preflight.ok);
  assert.equal(preflight.headers.get("access-control-allow-headers"), "content-type,convex-client");
  const refused = await fetch(`${url}/api/query`, { method: "POST", headers: { origin: "https://app.example" }, body: "{}" });
  assert.equal(refused.status, 400);
  assert.equal(refused.headers.get("access-control-allow-origin"), "https://app.example");
});
