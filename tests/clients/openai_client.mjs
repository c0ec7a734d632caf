// The official openai library for Node.js through Envoy. Usage: openai_client.mjs BASE_URL
//
// The policy in force refuses the model `gpt-4-turbo` with `model_not_approved`.
// Prints the exchanges made, in order, as the Python scripts do.

import assert from "node:assert/strict";
import OpenAI from "openai";

const messages = [{ role: "user", content: "What is the capital of France?" }];
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-test" });
const steps = [];
const note = (operation, { decision = "allow", status = 200, stream = false } = {}) =>
  steps.push({ operation, decision, status, stream });

const whole = await client.chat.completions.create({ model: "gpt-4o", messages });
assert.ok(whole.choices[0].message.content);
assert.equal(whole.usage.prompt_tokens, 6);
note("chat");

const stream = await client.chat.completions.create({
  model: "gpt-4o",
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
let text = "";
let usage;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.deepEqual(usage, whole.usage);
note("chat", { stream: true });

const ask = { model: "gpt-5", input: messages };
const response = await client.responses.create(ask);
assert.ok(response.output_text);
note("chat");
text = "";
for await (const event of await client.responses.create({ ...ask, stream: true })) {
  if (event.type === "response.output_text.delta") text += event.delta;
}
assert.equal(text, response.output_text);
note("chat", { stream: true });
assert.equal((await client.responses.retrieve(response.id)).id, response.id);
note("responses");

const embedded = await client.embeddings.create({
  model: "text-embedding-3-small",
  input: ["one", "two"],
});
assert.deepEqual(
  embedded.data.map((item) => item.embedding.length),
  [1536, 1536],
);
note("embeddings");

assert.ok((await client.models.list()).data.some((model) => model.id === "gpt-4o"));
note("models");

for (const stream of [false, true]) {
  // Once each: a refusal is not tried again.
  await assert.rejects(
    client.chat.completions.create({ model: "gpt-4-turbo", messages, stream }),
    (error) => {
      assert.ok(error instanceof OpenAI.PermissionDeniedError);
      assert.equal(error.status, 403);
      assert.equal(error.code, "model_not_approved");
      assert.equal(error.type, "policy_violation");
      assert.match(error.message, /gpt-4-turbo is not approved/);
      assert.equal(error.error.decision_id, error.headers.get("x-mercator-decision-id"));
      return true;
    },
  );
  note("chat", { decision: "deny", status: 403, stream });
}

await assert.rejects(client.models.retrieve("nonesuch"), OpenAI.NotFoundError);
note("models", { status: 404 });

const cut = await client.chat.completions.create(
  { model: "gpt-4o", messages, stream: true },
  { headers: { "x-fake-cut-after": "3" } },
);
// Never a silent end: the user must learn that the answer is not whole.
await assert.rejects(async () => {
  for await (const _ of cut);
});
note("chat", { stream: true });

console.log(JSON.stringify(steps));
