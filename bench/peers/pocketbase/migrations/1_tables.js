/// Two collections that anybody may list.
migrate((app) => {
  const text = (name) => ({ type: "text", name, required: true });
  app.save(new Collection({
    type: "base",
    name: "counters",
    listRule: "",
    fields: [text("name"), { type: "number", name: "n" }],
    indexes: ["CREATE UNIQUE INDEX counters_by_name ON counters (name)"],
  }));
  app.save(new Collection({
    type: "base",
    name: "messages",
    listRule: "",
    fields: [text("author"), text("body"), { type: "autodate", name: "created", onCreate: true }],
    indexes: ["CREATE INDEX messages_by_created ON messages (created)"],
  }));
});
