// Pages that stay live, through the npm client without a user interface.
import test from "node:test";
import { api, assert, connect, fresh, http, until } from "./harness.mjs";

const range = (from, to, step = 1) => Array.from({ length: Math.ceil((to - from) / step) }, (_, n) => from + n * step);

function pages(client, query, args, initialNumItems) {
  const seen = { results: [], errors: [] };
  client.onPaginatedUpdate_experimental(query, args, { initialNumItems }, (result) => Object.assign(seen, result), (error) => seen.errors.push(error));
  seen.ranks = () => seen.results.map((item) => item.rank);
  return seen;
}

test("pages are loaded one after the other, and follow what happens in them", async (t) => {
  const client = connect(t);
  const list = fresh("pages");
  await http().mutation(api.items.fill, { list, ranks: range(0, 10) });
  const seen = pages(client, api.items.page, { list }, 4);
  await until(() => seen.results.length === 4);
  assert.equal(seen.status, "CanLoadMore");
  seen.loadMore(4);
  await until(() => seen.results.length === 8);
  await http().mutation(api.items.fill, { list, ranks: [1.5, 5.5] });
  await until(() => seen.results.length === 10);
  assert.deepEqual(seen.ranks(), [0, 1, 1.5, 2, 3, 4, 5, 5.5, 6, 7], "pages keep their ends, so nothing is shown twice or left out");
  await http().mutation(api.items.drop, { list, rank: 3 });
  await until(() => seen.results.length === 9);
  seen.loadMore(10);
  await until(() => seen.status === "Exhausted");
  assert.deepEqual(seen.ranks(), [0, 1, 1.5, 2, 4, 5, 5.5, 6, 7, 8, 9]);
  await http().mutation(api.items.fill, { list, ranks: [100] });
  await until(() => seen.ranks().includes(100), "the last page grows");
  assert.deepEqual(seen.errors, []);
});

test("a page that grows is split, and stays whole", async (t) => {
  const client = connect(t);
  const list = fresh("split");
  await http().mutation(api.items.fill, { list, ranks: range(0, 8) });
  const seen = pages(client, api.items.page, { list }, 4);
  await until(() => seen.results.length === 4);
  for (const part of range(0, 5)) {
    await http().mutation(api.items.fill, { list, ranks: range(0, 4).map((n) => part / 10 + n / 100 + 0.001) });
  }
  await until(() => seen.results.length === 24);
  const sorted = [...seen.ranks()].sort((a, b) => a - b);
  assert.deepEqual(seen.ranks(), sorted);
  await http().mutation(api.items.fill, { list, ranks: [2.5] });
  await until(() => seen.ranks().includes(2.5));
  assert.deepEqual(seen.ranks(), [...seen.ranks()].sort((a, b) => a - b));
});

test("pages of a component", async (t) => {
  const client = connect(t);
  const mark = fresh("book");
  for (const n of range(0, 5)) await client.mutation(api.items.putTitle, { title: `${mark}-${n}` });
  const seen = pages(client, api.items.titles, {}, 2);
  await until(() => seen.results.length >= 2);
  while (seen.status !== "Exhausted") {
    const before = seen.results.length;
    seen.loadMore(2);
    await until(() => seen.status === "Exhausted" || seen.results.length > before);
  }
  const titles = seen.results.map((book) => book.title).filter((title) => title.startsWith(mark));
  assert.deepEqual(titles, range(0, 5).map((n) => `${mark}-${n}`));
});

test("two pages in one function keep their own ends", async (t) => {
  const client = connect(t);
  const [one, two] = [fresh("one"), fresh("two")];
  await http().mutation(api.items.fill, { list: one, ranks: range(0, 5) });
  await http().mutation(api.items.fill, { list: two, ranks: range(10, 15) });
  const seen = [];
  client.onUpdate(api.items.twoPages, { one, two, count: 3 }, (value) => seen.push(value));
  await until(() => seen.length === 1);
  assert.deepEqual(seen[0], { one: [0, 1, 2], two: [10, 11, 12] });
  await http().mutation(api.items.fill, { list: one, ranks: [0.5] });
  await until(() => seen.length === 2);
  assert.deepEqual(seen[1], { one: [0, 0.5, 1, 2], two: [10, 11, 12] });
  await http().mutation(api.items.drop, { list: two, rank: 11 });
  await until(() => seen.length === 3);
  assert.deepEqual(seen[2], { one: [0, 0.5, 1, 2], two: [10, 12] });
});

test("a cursor that is none starts the pages again, or is an error that says so", async () => {
  const list = fresh("cursor");
  await http().mutation(api.items.fill, { list, ranks: [1] });
  const call = http().query(api.items.page, { list, paginationOpts: { numItems: 1, cursor: "nonsense" } });
  await assert.rejects(call, (error) => error.data?.paginationError === "InvalidCursor" && error.data.isConvexSystemError === true);
  await assert.rejects(http().query(api.items.page, { list, paginationOpts: { numItems: 0, cursor: null } }));
});
