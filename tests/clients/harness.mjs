// What the scripts of this folder share: where the server is, tokens that it accepts, and waiting for something to become true.
import assert from "node:assert/strict";
import { createPrivateKey, sign } from "node:crypto";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";

export const url = process.env.INTERLOCK_URL;
export const adminKey = process.env.INTERLOCK_ADMIN_KEY;
export const api = anyApi;
export { assert };

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token of Ada, unless the claims say otherwise. */
export function token(claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: "https://login.example", sub: "ada", aud: "clients", iat: now, exp: now + 3600, ...claims };
  const text = `${encode({ alg: "RS256", typ: "JWT", kid: "k" })}.${encode(payload)}`;
  const signature = sign("RSA-SHA256", Buffer.from(text), createPrivateKey(process.env.LOGIN_PRIVATE_KEY));
  return `${text}.${signature.toString("base64url")}`;
}

/** Wait for a condition, looking again whenever the loop has turned; fails after ten seconds. */
export async function until(condition, what = condition.toString()) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A logger that keeps what it is told. */
export function keeper() {
  const lines = [];
  const keep = (level) => (...args) => lines.push([level, args.join(" ")]);
  return { lines, log: keep("log"), warn: keep("warn"), error: keep("error"), logVerbose: () => {} };
}

/** A client on a socket that is closed with its test. */
export function connect(t, options = {}) {
  const client = new ConvexClient(url, { logger: keeper(), ...options });
  t.after(() => client.close());
  return client;
}

export const http = (options = {}) => new ConvexHttpClient(url, { logger: keeper(), ...options });

let names = 0;
/** A name that no other test uses. */
export const fresh = (prefix) => `${prefix}-${process.pid}-${names++}`;

/** Subscribe; `seen` holds every result, `errors` every failure. */
export function watch(client, query, args = {}) {
  const seen = [];
  const errors = [];
  const stop = client.onUpdate(query, args, (value) => seen.push(value), (error) => errors.push(error));
  return { seen, errors, stop, last: () => seen[seen.length - 1] };
}
