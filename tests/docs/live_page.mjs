// Opens the tutorial's page in two windows, writes and likes in one, and waits for both to show it: node live_page.mjs URL NODE_MODULES
import { createRequire } from "node:module";

const [url, nodeModules] = process.argv.slice(2);
const { JSDOM, VirtualConsole } = createRequire(`${nodeModules}/`)("jsdom");

async function open() {
  const virtualConsole = new VirtualConsole();
  virtualConsole.on("jsdomError", (error) => { throw error; });
  const { window } = await JSDOM.fromURL(url, { runScripts: "dangerously", resources: "usable", virtualConsole });
  await new Promise((loaded) => window.addEventListener("load", loaded));
  const items = () => [...window.document.querySelectorAll("#entries li")].map((item) => item.textContent);
  return { window, document: window.document, items };
}

async function until(what, condition) {
  const deadline = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const one = await open();
const other = await open();
const form = one.document.getElementById("form");
form.elements.author.value = "grace";
form.elements.text.value = "So was I.";
form.dispatchEvent(new one.window.Event("submit", { cancelable: true }));
for (const page of [one, other]) await until("the entry", () => page.items()[0] === "grace: So was I. ♥ 0");
one.document.querySelector("#entries button").click();
for (const page of [one, other]) await until("the like", () => page.items()[0] === "grace: So was I. ♥ 1");
console.log(other.items().join("\n"));
process.exit(0);
