// Asks two models the same thing at once, and shows what they say as they say it.
"use strict";
const $ = (id) => document.getElementById(id);
let stopping = null;

// The events of a stream, as JSON (https://html.spec.whatwg.org/multipage/server-sent-events.html).
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer broke off.");
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function request(model) {
  const messages = [{ role: "user", content: $("prompt").value }];
  if ($("system").value.trim()) messages.unshift({ role: "system", content: $("system").value });
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  for (const name of ["temperature", "top_p", "max_tokens", "seed"])
    if ($(name).value !== "") body[name] = Number($(name).value);
  return body;
}

async function ask(side, signal) {
  const answer = $(side).querySelector(".answer");
  const outcome = $(side).querySelector(".outcome");
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(2)} s`;
  const report = (words, failed = false) => {
    outcome.textContent = words;
    outcome.classList.toggle("error", failed);
  };
  answer.textContent = "";
  report("Asking …");
  let first = "", usage = null, reason = "";
  try {
    const reply = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request($(`${side}-model`).value)),
      redirect: "error",
      signal,
    });
    if (!reply.ok) throw new Error(await refusal(reply));
    for await (const event of events(reply.body)) {
      if (event.error) throw new Error(event.error.message);
      usage = event.usage ?? usage;
      const choice = event.choices?.[0];
      reason = choice?.finish_reason ?? reason;
      const text = choice?.delta?.content;
      if (text) {
        first ||= seconds();
        answer.append(text);
      }
    }
    const cut = reason === "length" ? ", cut at the limit" : "";
    const tokens = usage ? `${usage.completion_tokens.toLocaleString("en-US")} tokens, ` : "";
    report(`${tokens}first after ${first || "–"}, all after ${seconds()}${cut}`);
  } catch (error) {
    if (signal.aborted) report(`Stopped after ${seconds()}`);
    else report(error.message, true);
  }
}

async function refusal(reply) {
  if (reply.status === 401) return "You are signed out. Load the page again to sign in.";
  try {
    return (await reply.json()).error.message;
  } catch {
    return `The server answered ${reply.status}.`;
  }
}

// Of the two buttons, one can be used; the focus goes along.
function offer(button, other) {
  const held = document.activeElement === other;
  button.disabled = false;
  if (held) button.focus();
  other.disabled = true;
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("send").disabled) return; // Ctrl+Enter while they answer
  stopping = new AbortController();
  offer($("stop"), $("send"));
  await Promise.all(["left", "right"].map((side) => ask(side, stopping.signal)));
  offer($("send"), $("stop"));
});

$("stop").addEventListener("click", () => stopping?.abort());

$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});
