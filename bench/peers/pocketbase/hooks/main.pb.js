/// The work of the benchmarks as routes of their own, each one transaction.

routerAdd("POST", "/add", (event) => {
  const name = event.requestInfo().body.name;
  let n = 1;
  $app.runInTransaction((tx) => {
    let counter;
    try {
      counter = tx.findFirstRecordByData("counters", "name", name);
    } catch {
      counter = new Record(tx.findCollectionByNameOrId("counters"));
      counter.set("name", name);
    }
    n = counter.getInt("n") + 1;
    counter.set("n", n);
    tx.save(counter);
  });
  return event.json(200, { value: n });
});

routerAdd("POST", "/total", (event) => {
  const row = new DynamicModel({ total: 0 });
  $app.db().newQuery("SELECT coalesce(sum(n), 0) AS total FROM counters").one(row);
  return event.json(200, { value: row.total });
});

routerAdd("POST", "/send", (event) => {
  const { author, body } = event.requestInfo().body;
  let newest;
  $app.runInTransaction((tx) => {
    const message = new Record(tx.findCollectionByNameOrId("messages"));
    message.set("author", author);
    message.set("body", body);
    tx.save(message);
    newest = tx.findRecordsByFilter("messages", "", "-created", 50, 0);
  });
  return event.json(200, { value: newest });
});

routerAdd("POST", "/fill", (event) => {
  const count = event.requestInfo().body.count;
  $app.db().newQuery(`
    WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {:count})
    INSERT INTO messages (author, body, created)
    SELECT 'author ' || (n % 100), 'message ' || n || ': the quick brown fox jumps over the lazy dog', strftime('%Y-%m-%d %H:%M:%fZ') FROM numbers
  `).bind({ count }).execute();
  return event.json(200, { value: null });
});
