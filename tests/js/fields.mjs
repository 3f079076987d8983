// Calls every method of the JavaScript SDK with every option it reads, and prints the requests: node fields.mjs
import { Client } from "@langchain/langgraph-sdk";

const IDS = {
  thread_id: "00000000-0000-4000-8000-000000000001",
  assistant_id: "00000000-0000-4000-8000-000000000002",
  run_id: "00000000-0000-4000-8000-000000000003",
  cron_id: "00000000-0000-4000-8000-000000000004",
  checkpoint_id: "00000000-0000-4000-8000-000000000005",
};
const { thread_id: thread, assistant_id: assistant, run_id: run, cron_id: cron, checkpoint_id: checkpoint } = IDS;
// Options that are the transport's own, and those whose form the SDK looks into.
const OWN = { signal: undefined, onRunCreated: undefined, returnMinimal: false, raiseError: true };
const FORMS = {
  ttl: 5,
  supersteps: [{ updates: [{ values: {}, command: {}, asNode: "node" }] }],
  namespace: undefined,
  streamIdleReconnect: "off",
  lastEventId: undefined,
};
// Whatever an SDK asks an options object for, it gets.
const everything = (more = {}) =>
  new Proxy({}, { get: (_, name) => ({ ...OWN, ...FORMS, ...more })[name] ?? (name in { ...OWN, ...FORMS, ...more } ? undefined : "x") });

const sent = [];
async function record(url, init) {
  const { pathname, searchParams } = new URL(url);
  let path = decodeURIComponent(pathname);
  for (const [name, id] of Object.entries(IDS)) path = path.replace(id, `{${name}}`);
  path = path.replace("/subgraphs/sub", "/subgraphs/{namespace}");
  const body = init.body ? JSON.parse(init.body) : {};
  const names = new Set([...searchParams.keys()].map((name) => `?${name}`));
  for (const item of Array.isArray(body) ? body : [body]) for (const name of Object.keys(item)) names.add(name);
  sent.push({ method: init.method ?? "GET", path, fields: [...names] });
  const stream = path.includes("stream");
  return new Response(stream ? "event: end\ndata: null\n\n" : `{"items": [], "namespaces": []}`, {
    headers: { "content-type": stream ? "text/event-stream" : "application/json" },
  });
}

const client = new Client({ apiUrl: "http://sdk", apiKey: null, callerOptions: { fetch: record, maxRetries: 0 } });
const { assistants, threads, runs, crons, store } = client;
const options = everything();
const CALLS = [
  () => assistants.get(assistant),
  () => assistants.getGraph(assistant, { xray: 1 }),
  () => assistants.getSchemas(assistant),
  () => assistants.getSubgraphs(assistant, { recurse: true }),
  () => assistants.getSubgraphs(assistant, { recurse: true, namespace: "sub" }),
  () => assistants.create(options),
  () => assistants.update(assistant, options),
  () => assistants.delete(assistant, { deleteThreads: true }),
  () => assistants.search(options),
  () => assistants.count(options),
  () => assistants.getVersions(assistant, options),
  () => assistants.setLatest(assistant, 1),
  () => threads.get(thread, { include: ["ttl"] }),
  () => threads.create(options),
  () => threads.copy(thread),
  () => threads.update(thread, options),
  () => threads.delete(thread),
  () => threads.prune([thread], { strategy: "delete" }),
  () => threads.search(options),
  () => threads.count(options),
  () => threads.getState(thread, undefined, { subgraphs: true, select: ["values"] }),
  () => threads.getState(thread, checkpoint, { subgraphs: true, select: ["values"] }),
  () => threads.getState(thread, { checkpoint_id: checkpoint }, { subgraphs: true, select: ["values"] }),
  () => threads.updateState(thread, options),
  () => threads.patchState(thread, {}),
  () => threads.getHistory(thread, options),
  () => drain(threads.joinStream(thread, { lastEventId: "1", streamMode: ["lifecycle"] })),
  ...[thread, null].flatMap((where) => [
    () => runs.create(where, assistant, options),
    () => runs.wait(where, assistant, options),
    () => drain(runs.stream(where, assistant, options)),
    () => drain(runs.joinStream(where, run, options)),
  ]),
  () => runs.createBatch([Object.fromEntries([...CREATE].map((name) => [name, "x"]))]),
  () => runs.list(thread, options),
  () => runs.get(thread, run),
  () => runs.cancel(thread, run, true, "interrupt", { reason: "taken" }),
  () => runs.cancelMany(options),
  () => runs.join(thread, run, { cancelOnDisconnect: true }),
  () => runs.delete(thread, run),
  () => crons.createForThread(thread, assistant, options),
  () => crons.create(assistant, options),
  () => crons.update(cron, options),
  () => crons.delete(cron),
  () => crons.search(options),
  () => crons.count(options),
  () => store.putItem(["a"], "k", {}, { index: ["a"], ttl: 1 }),
  () => store.getItem(["a"], "k", { refreshTtl: true }),
  () => store.deleteItem(["a"], "k"),
  () => store.searchItems(["a"], { filter: {}, limit: 1, offset: 1, query: "q", refreshTtl: true }),
  () => store.listNamespaces({ prefix: ["a"], suffix: ["a"], maxDepth: 1, limit: 1, offset: 1 }),
];
// createBatch spreads what it gets, so its names are those of the type RunsCreatePayload.
const CREATE = new Set(
  ("input config context metadata command streamMode streamSubgraphs streamResumable interruptBefore interruptAfter " +
    "checkpoint checkpointId checkpointDuring durability multitaskStrategy onCompletion onDisconnect webhook " +
    "afterSeconds ifNotExists feedbackKeys strictResume assistantId").split(" "),
);
// Not a request but a session; other tests drive it.
const LEFT_OUT = new Set(["stream"]);

async function drain(stream) {
  for await (const _ of stream);
}

for (const call of CALLS) await call();
const called = CALLS.map(String).join("\n");
for (const [name, part] of Object.entries({ assistants, threads, runs, crons, store })) {
  for (const method of Object.getOwnPropertyNames(Object.getPrototypeOf(part))) {
    if (method === "constructor" || method.startsWith("_") || called.includes(`${name}.${method}(`)) continue;
    if (!LEFT_OUT.has(method)) throw new Error(`${name}.${method} is not called`);
  }
}
console.log(JSON.stringify(sent));
