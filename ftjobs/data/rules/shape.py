"""The shape of a row: FT3xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT301",
        "line is not an object",
        "error",
        "An example is a JSON object.",
        'Write {"messages": [...]} on the line.',
    ),
    Rule(
        "FT302",
        "wrong type",
        "error",
        "Services check types before training and fail the job.",
        "Give the value the type that the message names.",
    ),
    Rule(
        "FT303",
        "missing key",
        "error",
        "The example cannot be understood without it.",
        "Add the key.",
    ),
    Rule(
        "FT304",
        "unknown key",
        "warning",
        "Some services ignore it, others refuse the file; if it is misspelt, it has no effect.",
        "Correct the spelling, or remove the key.",
    ),
    Rule(
        "FT305",
        "empty list",
        "error",
        "There is nothing in it to train on.",
        "Fill the list, or remove the example.",
    ),
    Rule(
        "FT306",
        "unknown role",
        "error",
        "A message is from the system, the user, the assistant or a tool.",
        'Use "system", "user", "assistant" or "tool", in lower case.',
    ),
    Rule(
        "FT307",
        "role that not every service takes",
        "warning",
        "Services confirm only system, user, assistant and tool in training files.",
        'Use "system" for "developer" and "tool" for "function".',
    ),
    Rule(
        "FT308",
        "unknown content part",
        "error",
        "Content lists may hold texts, and images in user messages.",
        'Use {"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}}.',
    ),
    Rule(
        "FT309",
        "value not allowed",
        "error",
        "Services refuse values outside the list or pattern that the message names.",
        "Use one of the allowed values.",
    ),
    Rule(
        "FT310",
        "optional key that holds nothing",
        "warning",
        "Some services refuse null or an empty list where a key could be left out.",
        "Leave the key out.",
    ),
    Rule(
        "FT311",
        "key of the old function calls",
        "warning",
        "Functions became tools; newer models and most services no longer take the old keys.",
        'Use "tools" for "functions" and "tool_calls" for "function_call".',
    ),
    Rule(
        "FT321",
        "prompt and completion instead of messages",
        "error",
        "This is the legacy shape; chat models train on messages.",
        'Write {"messages": [{"role": "user", "content": PROMPT}, '
        '{"role": "assistant", "content": COMPLETION}]}.',
    ),
    Rule(
        "FT322",
        "Alpaca rows instead of messages",
        "error",
        "The services know messages, not instruction and output.",
        'Write {"messages": [{"role": "user", "content": INSTRUCTION and INPUT}, '
        '{"role": "assistant", "content": OUTPUT}]}.',
    ),
    Rule(
        "FT323",
        "ShareGPT rows instead of messages",
        "error",
        "The services know messages with role and content, not from and value.",
        'Write {"messages": [...]}; "human" becomes the role "user" and "gpt" "assistant".',
    ),
    Rule(
        "FT324",
        "table instead of JSON Lines",
        "error",
        "Jobs read JSON Lines; a table says nothing about who speaks.",
        'Write {"messages": [{"role": "user", "content": QUESTION}, '
        '{"role": "assistant", "content": ANSWER}]}.',
    ),
)
