// `node run.mjs aggregate|rate_limiter`: the original components in convex-test, in memory. Prints figures as JSON.
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { DirectAggregate } from "@convex-dev/aggregate";
import { RateLimiter } from "@convex-dev/rate-limiter";
import { anyApi, componentsGeneric, defineSchema, mutationGeneric as mutation } from "convex/server";
import { v } from "convex/values";
import { convexTest } from "convex-test";

const ITEMS = 10_000;
const ROUND = 50; // operations in one function
const CALLERS = 64;
const SECONDS = 1.5;

const components = componentsGeneric();

// What a component consists of, as its own test helper would find it under vite.
function modulesOf(name, from = import.meta.url) {
  const folder = join(dirname(fileURLToPath(import.meta.resolve(name, from))), "..", "component");
  const found = {};
  const look = (below) => {
    for (const entry of readdirSync(join(folder, below), { withFileTypes: true })) {
      const path = join(below, entry.name);
      if (entry.isDirectory()) look(path);
      else if (entry.name.endsWith(".js")) found[`./component/${path}`] = () => import(pathToFileURL(join(folder, path)));
    }
  };
  look("");
  return found;
}

async function register(t, name, path) {
  const modules = modulesOf(name);
  t.registerComponent(path, (await modules["./component/schema.js"]()).default, modules);
}

function makeTest(functions) {
  return convexTest(defineSchema({}), { "./convex/_generated/api.js": async () => ({}), "./convex/bench.js": async () => functions });
}

// One generator for both sides would be another language's: the keys are as random here as there.
const number = (below) => Math.floor(Math.random() * below);

// Processor time, as on the other side: other work on the machine hardly disturbs that.
function cpuSeconds(begun) {
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1e6;
}

async function rate(operation) {
  await operation();
  const end = performance.now() + SECONDS * 1000;
  const begun = process.cpuUsage();
  let done = 0;
  while (performance.now() < end) {
    await operation();
    done += ROUND;
  }
  return done / cpuSeconds(begun);
}

async function aggregate() {
  const tree = new DirectAggregate(components.aggregate);
  const many = (args, one) =>
    mutation({
      args,
      handler: async (ctx, args) => {
        for (let i = 0; i < ROUND; i++) await one(ctx, args, i);
      },
    });
  const insert = (ctx, { from }, i) =>
    tree.insert(ctx, { namespace: undefined, key: number(1e9), id: `id${from + i}`, sumValue: 1 });
  const t = makeTest({
    insert: many({ from: v.number() }, insert),
    at: many({}, (ctx) => tree.at(ctx, number(ITEMS), { namespace: undefined })),
    rank: many({}, (ctx) => tree.indexOf(ctx, number(1e9), { namespace: undefined })),
    count: many({}, (ctx) => tree.count(ctx, { namespace: undefined })),
  });
  await register(t, "@convex-dev/aggregate", "aggregate");
  const bench = anyApi.bench;
  let from = 0;
  const grow = async () => {
    await t.mutation(bench.insert, { from });
    from += ROUND;
  };
  while (from < ITEMS) await grow();
  const figures = {};
  for (const name of ["at", "rank", "count"]) figures[`${name}/s`] = await rate(() => t.mutation(bench[name], {}));
  figures["insert/s"] = await rate(grow);
  return figures;
}

async function rateLimiter() {
  const limits = new RateLimiter(components.rateLimiter, { use: { kind: "token bucket", rate: 1e9, period: 1000, capacity: 1e9 } });
  const t = makeTest({ use: mutation({ args: {}, handler: async (ctx) => (await limits.limit(ctx, "use")).ok }) });
  await register(t, "@convex-dev/rate-limiter", "rateLimiter");
  let done = 0;
  const end = performance.now() + SECONDS * 1000;
  const begun = process.cpuUsage();
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      while (performance.now() < end) {
        if (!(await t.mutation(anyApi.bench.use, {}))) throw new Error("a limit that cannot be reached was reached");
        done++;
      }
    }),
  );
  return { per_second: done / cpuSeconds(begun) };
}

const kinds = { aggregate, rate_limiter: rateLimiter };
console.log(JSON.stringify(await kinds[process.argv[2]]()));
