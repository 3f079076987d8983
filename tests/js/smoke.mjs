// Drives a server with the JavaScript SDK as a page does: node smoke.mjs URL. Ends with 1 at the first thing that is wrong.
import assert from "node:assert/strict";
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2], apiKey: null });
const input = { messages: [{ role: "user", content: "hi", id: "h1" }], items: [] };
const LIMIT_MS = 15_000;

function within(promise, ms, what) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`${what} takes longer than ${ms} ms`)), ms).unref();
  });
  return Promise.race([promise, late]);
}

async function step(name, check) {
  const begun = performance.now();
  await within(check(), LIMIT_MS, name);
  console.log(`ok ${name} (${(performance.now() - begun).toFixed(0)} ms)`);
}

async function until(condition, what) {
  await within(
    (async () => {
      while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
    })(),
    LIMIT_MS,
    what,
  );
}

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

await step("assistants", async () => {
  const [assistant] = await client.assistants.search({ graphId: "helper" });
  assert.equal(assistant.graph_id, "helper");
  const graph = await client.assistants.getGraph(assistant.assistant_id);
  assert.ok(graph.nodes.some((node) => node.id === "ask"));
  const own = await client.assistants.create({ graphId: "quick", name: "mine", metadata: { of: "smoke" } });
  assert.equal((await client.assistants.update(own.assistant_id, { name: "still mine" })).version, 2);
  await client.assistants.delete(own.assistant_id);
});

await step("threads and state", async () => {
  const { thread_id } = await client.threads.create({ metadata: { of: "smoke" }, graphId: "quick" });
  await client.runs.wait(thread_id, "quick", { input: { items: ["given"] } });
  assert.deepEqual((await client.threads.getState(thread_id)).values.items, ["given", "quick"]);
  await client.threads.updateState(thread_id, { values: { items: ["by hand"] }, asNode: "speak" });
  const history = await client.threads.getHistory(thread_id, { limit: 2 });
  assert.deepEqual(history[0].values.items, ["given", "quick", "by hand"]);
  const found = await client.threads.search({ metadata: { of: "smoke" }, status: "idle" });
  assert.deepEqual(found.map((thread) => thread.thread_id), [thread_id]);
  await client.threads.delete(thread_id);
  await assert.rejects(client.threads.get(thread_id), /404/);
});

await step("runs.stream and joinStream", async () => {
  const { thread_id } = await client.threads.create();
  let created;
  let answer = "";
  const seen = await all(
    client.runs.stream(thread_id, "helper", {
      input,
      streamMode: ["values", "messages-tuple", "updates", "custom"],
      streamSubgraphs: true,
      streamResumable: true,
      onRunCreated: (run) => {
        created = run;
      },
    }),
  );
  for (const part of seen) if (part.event.startsWith("messages|")) answer += part.data[0].content;
  assert.equal(seen[0].event, "metadata");
  assert.equal(created.thread_id, thread_id);
  assert.equal(answer, "from inside");
  const whole = await all(client.runs.joinStream(thread_id, created.run_id, { lastEventId: "-1" }));
  assert.deepEqual(whole.map((part) => part.event), seen.map((part) => part.event));
  const from = 5;
  const tail = await all(client.runs.joinStream(thread_id, created.run_id, { lastEventId: seen[from].id }));
  assert.deepEqual(tail.map((part) => part.id), seen.slice(from + 1).map((part) => part.id));
});

await step("runs.wait, a question and its answer", async () => {
  const { thread_id } = await client.threads.create();
  const asked = await client.runs.wait(thread_id, "helper", { input });
  assert.equal(asked.__interrupt__[0].value.question, "go on?");
  const answered = await client.runs.wait(thread_id, "helper", { command: { resume: "yes" } });
  assert.equal(answered.items.at(-1), "answered yes");
  const failing = (await client.threads.create()).thread_id;
  await assert.rejects(client.runs.wait(failing, "broken", { input: { items: [] } }), /ValueError: boom/);
});

await step("runs.list and cancel", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "held", { input: { items: ["a door that nobody opens"] } });
  await until(async () => (await client.runs.get(thread_id, run.run_id)).status === "running", "the run begins");
  await client.runs.cancel(thread_id, run.run_id, true);
  assert.deepEqual((await client.runs.list(thread_id)).map((item) => item.status), ["interrupted"]);
});

await step("store", async () => {
  await client.store.putItem(["notes", "smoke"], "one", { text: "kept" });
  assert.equal((await client.store.getItem(["notes", "smoke"], "one")).value.text, "kept");
  assert.equal((await client.store.searchItems(["notes"])).items.length, 1);
  await client.store.deleteItem(["notes", "smoke"], "one");
});

await step("crons", async () => {
  const cron = await client.crons.create("quick", { schedule: "0 0 1 1 *", input: { items: [] } });
  assert.equal((await client.crons.search({ limit: 5 })).length, 1);
  await client.crons.delete(cron.cron_id);
});

for (const transport of ["sse", "websocket"]) {
  await step(`threads.stream by ${transport}`, async () => {
    const thread = client.threads.stream({ assistantId: "helper", transport });
    const texts = [];
    const tools = new Map();
    const subgraphs = new Set();
    const said = [];
    const following = [
      (async () => {
        for await (const message of thread.messages) texts.push([message.node, await message.text]);
      })(),
      (async () => {
        // The SDK yields a call when it starts and again when it ends.
        for await (const call of thread.toolCalls) tools.set(call.name, await call.output);
      })(),
      (async () => {
        for await (const subgraph of thread.subgraphs) subgraphs.add(subgraph.name);
      })(),
      (async () => {
        for await (const event of thread.extensions.progress) said.push(event);
      })(),
    ];
    await thread.run.start({ input });
    const states = await all(thread.values);
    assert.deepEqual(states.at(-1).items, ["begun", "begun", "inside"]);
    assert.equal(thread.interrupted, true);
    const [question] = thread.interrupts;
    assert.equal(question.payload.question, "go on?");
    const { interruptId: interrupt_id, namespace } = question;
    await thread.input.respond({ interrupt_id, namespace, response: "yes" });
    const state = async () => (await client.threads.getState(thread.threadId)).values.items.at(-1);
    await until(async () => (await state()) === "answered yes", "the answer arrives");
    await thread.close();
    await Promise.allSettled(following.map((work) => within(work, 2000, "a projection")));
    assert.ok(texts.some(([, text]) => text === "from inside"), JSON.stringify(texts));
    assert.ok(tools.has("search"));
    assert.ok(subgraphs.has("inner"));
    assert.equal(said.length, 1);
  });
}

await step("three sessions of one thread", async () => {
  const { thread_id } = await client.threads.create();
  const lengths = [];
  for (let turn = 0; turn < 3; turn++) {
    const thread = client.threads.stream(thread_id, { assistantId: "slow" });
    await thread.run.start({ input: { items: [`in ${turn}`] } });
    lengths.push((await thread.output).items.length);
    await thread.close();
  }
  assert.deepEqual(lengths, [2, 4, 6]);
});

await step("runs that are over at once", async () => {
  for (let turn = 0; turn < 3; turn++) {
    const thread = client.threads.stream({ assistantId: "quick" });
    await thread.run.start({ input: { items: [] } });
    assert.deepEqual((await thread.output).items, ["quick"]);
    await thread.close();
  }
});

await step("a failure", async () => {
  const thread = client.threads.stream({ assistantId: "broken" });
  const seen = [];
  thread.onEvent((event) => {
    if (event.method === "lifecycle") seen.push([event.params.data.event, event.params.data.error]);
  });
  await thread.run.start({ input: { items: [] } });
  await thread.output;
  await thread.close();
  assert.deepEqual(seen.map(([event]) => event), ["running", "failed"]);
  assert.match(seen[1][1], /boom/);
});

await step("the state by commands", async () => {
  const thread = client.threads.stream({ assistantId: "quick" });
  await thread.run.start({ input: { items: [] } });
  await thread.output;
  assert.deepEqual((await thread.state.get({ namespace: [], keys: ["items"] })).values, { items: ["quick"] });
  const { checkpoints } = await thread.state.listCheckpoints({ limit: 1 });
  assert.equal(checkpoints[0].step, 1);
  const { tree } = await thread.agent.getTree();
  assert.equal(tree.graph_name, "quick");
  await thread.close();
});

console.log("all ok");
// Connections that the SDK keeps would keep the process, too.
process.exit(0);
