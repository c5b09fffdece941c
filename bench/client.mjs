// Round trips one after the other: `node client.mjs convex|echo PORT SECONDS` prints their percentiles as JSON.
import { createRequire } from "node:module";

const require = createRequire(new URL("../tests/clients/package.json", import.meta.url));
const WebSocket = require("ws");
const [mode, port, seconds] = process.argv.slice(2);

async function viaClient() {
  const { ConvexClient } = require("convex/browser");
  const { anyApi } = require("convex/server");
  const client = new ConvexClient(`http://127.0.0.1:${port}`, { webSocketConstructor: WebSocket, unsavedChangesWarning: false });
  return [() => client.mutation(anyApi.counters.add, { name: "js" }), () => client.close()];
}

async function viaEcho() {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false });
  await new Promise((opened) => socket.once("open", opened));
  const call = { type: "Mutation", requestId: 0, udfPath: "counters:add", args: [{ name: "js" }] };
  const trip = () =>
    new Promise((answered) => {
      socket.once("message", (text) => answered(JSON.parse(text)));
      socket.send(JSON.stringify(call));
    });
  return [trip, () => socket.close()];
}

const [trip, close] = await (mode === "echo" ? viaEcho() : viaClient());
for (let n = 0; n < 200; n++) await trip();
const took = [];
const end = performance.now() + seconds * 1000;
while (performance.now() < end) {
  const began = performance.now();
  await trip();
  took.push(performance.now() - began);
}
await close();
took.sort((a, b) => a - b);
console.log(JSON.stringify({ p50_ms: took[took.length >> 1], p99_ms: took[Math.floor(took.length * 0.99)] }));
process.exit(0);
