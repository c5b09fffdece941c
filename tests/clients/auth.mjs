// Who the client is, over a socket that stays open.
import test from "node:test";
import { adminKey, api, assert, connect, token, until, watch } from "./harness.mjs";

test("a good token is taken, fetched again, and confirmed", async (t) => {
  const client = connect(t);
  const me = watch(client, api.echoes.whoami);
  await until(() => me.last() === null);
  const fetches = [];
  const changes = [];
  client.setAuth(
    async ({ forceRefreshToken }) => {
      fetches.push(forceRefreshToken);
      return token({ name: "Ada", jti: `${fetches.length}` });
    },
    (isAuthenticated) => changes.push(isAuthenticated),
  );
  await until(() => me.last()?.name === "Ada" && changes.length);
  await until(() => fetches.length === 2);
  assert.deepEqual(fetches, [false, true]);
  assert.ok(changes.every((each) => each === true));
  assert.equal(await client.mutation(api.echoes.whoamiMutation, {}), "ada");
  assert.equal(me.seen.filter((each) => each?.name === "Ada").length, 1, "the second token changes nothing that is seen");
});

test("a token that is always bad is given up", async (t) => {
  const client = connect(t);
  const me = watch(client, api.echoes.whoami);
  let fetches = 0;
  const changes = [];
  client.setAuth(
    async () => {
      fetches += 1;
      return token({ aud: "others", jti: `${fetches}` });
    },
    (isAuthenticated) => changes.push(isAuthenticated),
  );
  await until(() => changes.includes(false));
  await until(() => me.last() === null);
  assert.ok(fetches >= 2 && fetches <= 5, `${fetches} fetches`);
  assert.equal(await client.mutation(api.echoes.whoamiMutation, {}), null);
});

test("a bad token is followed by a good one", async (t) => {
  const client = connect(t);
  const me = watch(client, api.echoes.whoami);
  const changes = [];
  client.setAuth(
    async ({ forceRefreshToken }) => (forceRefreshToken ? token({ sub: "eva" }) : token({ exp: 1_000_000_000 })),
    (isAuthenticated) => changes.push(isAuthenticated),
  );
  await until(() => me.last()?.subject === "eva");
  await until(() => changes.includes(true));
});

test("an identity that expires is renewed, and what is on screen stays", async (t) => {
  const client = connect(t);
  const me = watch(client, api.echoes.whoami);
  let fetches = 0;
  client.setAuth(
    async () => {
      fetches += 1;
      const now = Math.floor(Date.now() / 1000);
      // The server forgives five seconds; this token has two left, and says nothing that lets the client renew it in time.
      return fetches <= 2 ? token({ exp: now - 3, iat: undefined, jti: `${fetches}` }) : token({ jti: `${fetches}` });
    },
    () => {},
  );
  await until(() => me.last()?.subject === "ada");
  await until(() => fetches >= 3);
  assert.equal(await client.mutation(api.echoes.whoamiMutation, {}), "ada");
  assert.ok(me.seen.slice(me.seen.findIndex(Boolean)).every((each) => each.subject === "ada"), "nobody was logged out in between");
});

test("logging out", async (t) => {
  const client = connect(t);
  const me = watch(client, api.echoes.whoami);
  client.setAuth(async () => token());
  await until(() => me.last()?.subject === "ada");
  client.client.clearAuth();
  await until(() => me.last() === null);
  assert.equal(await client.mutation(api.echoes.whoamiMutation, {}), null);
});

test("an admin may stand in for a user", async (t) => {
  const client = connect(t);
  const me = watch(client, api.echoes.whoami);
  await until(() => me.seen.length);
  client.client.setAdminAuth(adminKey, { issuer: "i", subject: "s", givenName: "Éva" });
  await until(() => me.last()?.givenName === "Éva");
  assert.equal(me.last().tokenIdentifier, "i|s");
});
