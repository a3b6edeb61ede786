// The OpenAI Node SDK: from a file to a streamed answer, and away.
//
//     node openai_node.mjs PACKAGES MODEL TRAIN PORT SECRET
//
// PACKAGES is the folder that holds the SDK.  A webhook with SECRET comes to PORT.

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as rest } from "node:timers/promises";

const [packages, model, train, port, secret] = process.argv.slice(2);
const require = createRequire(path.join(packages, "here.js"));
const { OpenAI, toFile } = require("openai");

// No retry may hide what the server does wrong.
const client = new OpenAI({ maxRetries: 0 });
const bytes = fs.readFileSync(train);

const receiver = http.createServer();
const delivered = new Promise((arrived) => {
  receiver.on("request", async (request, answer) => {
    let body = "";
    for await (const piece of request) body += piece;
    answer.writeHead(204).end();
    arrived({ headers: request.headers, body });
  });
});
receiver.listen(Number(port), "127.0.0.1");

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

// files
const file = await client.files.create({ file: fs.createReadStream(train), purpose: "fine-tune" });
assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
assert.equal(file.filename, path.basename(train));
assert.deepEqual(Buffer.from(await (await client.files.content(file.id)).arrayBuffer()), bytes);
const other = await client.files.create({ file: await toFile(Buffer.concat([bytes, Buffer.from("\n")]), "données.jsonl"), purpose: "fine-tune" });
assert.equal(other.filename, "données.jsonl");
const ids = (await all(client.files.list({ limit: 1 }))).map((one) => one.id);
assert.ok(ids.includes(file.id) && ids.includes(other.id));
assert.ok((await client.files.delete(other.id)).deleted);

// a job
let job = await client.fineTuning.jobs.create({
  model,
  training_file: file.id,
  suffix: "node",
  metadata: { client: "node" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: "auto" } } },
});
assert.deepEqual((await all(client.fineTuning.jobs.list({ metadata: { client: "node" } }))).map((one) => one.id), [job.id]);
while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
  await rest(200);
  job = await client.fineTuning.jobs.retrieve(job.id);
}
assert.equal(job.status, "succeeded", JSON.stringify(job.error));
const tuned = job.fine_tuned_model;
assert.ok(tuned.includes(":node:"));

const events = await all(client.fineTuning.jobs.listEvents(job.id, { limit: 4 }));
assert.equal(events[0].message, "The job has successfully completed");
assert.equal(new Set(events.map((one) => one.id)).size, events.length);
const [checkpoint] = await all(client.fineTuning.jobs.checkpoints.list(job.id));
assert.equal(checkpoint.fine_tuning_job_id, job.id);
assert.ok((await (await client.files.content(job.result_files[0])).text()).startsWith("step,train_loss"));

// chat
for (const name of [model, tuned, checkpoint.fine_tuned_model_checkpoint]) {
  const how = { model: name, temperature: 0, max_tokens: 12, messages: [{ role: "user", content: "Where is my parcel?" }] };
  const whole = await client.chat.completions.create(how);
  let text = "";
  let usage;
  for await (const piece of await client.chat.completions.create({ ...how, stream: true, stream_options: { include_usage: true } })) {
    text += piece.choices[0]?.delta?.content ?? "";
    usage = piece.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(usage, whole.usage);
  const helper = client.chat.completions.stream(how);
  assert.equal(await helper.finalContent(), text);
}

// the webhook
const { headers, body } = await delivered;
const event = await client.webhooks.unwrap(body, headers, secret);
assert.equal(event.type, "fine_tuning.job.succeeded");
assert.equal(event.data.id, job.id);

// pause, resume, cancel
let second = await client.fineTuning.jobs.create({ model, training_file: file.id, hyperparameters: { n_epochs: 50 } });
await client.fineTuning.jobs.pause(second.id);
while ((second = await client.fineTuning.jobs.retrieve(second.id)).status !== "paused") await rest(100);
assert.notEqual((await client.fineTuning.jobs.resume(second.id)).status, "paused");
assert.equal((await client.fineTuning.jobs.cancel(second.id)).status, "cancelled");

// in parts
const upload = await client.uploads.create({ bytes: bytes.length, filename: "parts.jsonl", mime_type: "application/jsonl", purpose: "fine-tune" });
const parts = [];
for (const half of [bytes.subarray(0, 1000), bytes.subarray(1000)]) {
  parts.push((await client.uploads.parts.create(upload.id, { data: await toFile(half, "part") })).id);
}
const completed = await client.uploads.complete(upload.id, { part_ids: parts });
assert.deepEqual(Buffer.from(await (await client.files.content(completed.file.id)).arrayBuffer()), bytes);

// away
assert.ok((await client.models.delete(tuned)).deleted);
await assert.rejects(client.models.retrieve(tuned), OpenAI.NotFoundError);
await assert.rejects(client.fineTuning.jobs.retrieve("ftjob-none"), (error) => error instanceof OpenAI.NotFoundError && Boolean(error.requestID));
await assert.rejects(new OpenAI({ apiKey: "ftj-no", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);

receiver.close();
receiver.closeAllConnections();
