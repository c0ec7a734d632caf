// Rules on answers as the official openai library for Node.js sees them.
// Usage: openai_answers.mjs BASE_URL
//
// The policy in force is tests/tests/e2e/policies/answers.yaml.
// Prints the exchanges made, in order, as the Python scripts do.

import assert from "node:assert/strict";
import OpenAI from "openai";

const address = "ada.lovelace@example.com";
const told = `Write to ${address}.`;
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-test", maxRetries: 0 });
const steps = [];
const note = ({ decision = "allow", status = 200, stream = false } = {}) =>
  steps.push({ operation: "chat", decision, status, stream });

const ask = (user, text, reply, stream = false) =>
  client.chat.completions.create(
    { model: "gpt-4o", user, messages: [{ role: "user", content: text }], stream },
    { headers: { "x-fake-reply": reply, "x-fake-piece-chars": "3" } },
  );

const streamed = async (user, text, reply) => {
  let all = "";
  for await (const chunk of await ask(user, text, reply, true)) {
    all += chunk.choices[0]?.delta?.content ?? "";
  }
  return all;
};

for (const [user, text, reply, expected] of [
  ["tokenize", `I am ${address}`, "Write to [EMAIL_1].", told],
  ["clean-answers", "Whom shall I ask?", told, "Write to [gone]."],
]) {
  assert.equal((await ask(user, text, reply)).choices[0].message.content, expected);
  note();
  assert.equal(await streamed(user, text, reply), expected);
  note({ stream: true });
}

await assert.rejects(ask("anyone", "What is new?", "On project falcon."), (error) => {
  assert.ok(error instanceof OpenAI.PermissionDeniedError);
  assert.equal(error.code, "confidential");
  return true;
});
note({ decision: "deny", status: 403 });

await assert.rejects(streamed("anyone", "What is new?", "All on project falcon."), (error) => {
  assert.ok(error instanceof OpenAI.APIError);
  assert.equal(error.code, "confidential");
  return true;
});
note({ decision: "deny", stream: true });

console.log(JSON.stringify(steps));
