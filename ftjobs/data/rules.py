"""Every rule of the checker in one table: the source of `explain` and of the docs.

Codes are stable: a code never changes its meaning and is never given out again.  The hundreds
say what is looked at: FT1xx the bytes, FT2xx JSON, FT3xx the shape of a row, FT4xx the
conversation, FT5xx the file as a whole.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ftjobs.errors import ConfigError

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code means.  `fix` is the hint that its issues carry."""

    code: str
    title: str
    severity: Severity
    why: str
    fix: str


_TABLE = (
    # --- FT1xx: the bytes -----------------------------------------------------------------
    Rule(
        "FT101",
        "byte order mark at the start",
        "warning",
        "Strict JSON readers refuse the first line of such a file.",
        'Save the file as UTF-8 without a byte order mark (in Excel and Notepad: not "with BOM").',
    ),
    Rule(
        "FT102",
        "byte order mark inside the file",
        "error",
        "It is not JSON.  It appears where files that start with one were joined.",
        "Remove the byte order marks, then join the files.",
    ),
    Rule(
        "FT103",
        "UTF-16 or UTF-32",
        "error",
        "JSON Lines is UTF-8; services read nothing else.",
        "Convert it, for example: iconv -f UTF-16 -t UTF-8 IN > OUT.",
    ),
    Rule(
        "FT104",
        "not UTF-8",
        "error",
        "The line holds bytes that no UTF-8 text has, so its text cannot be known.",
        "Convert it from its real encoding, for example: iconv -f SHIFT_JIS -t UTF-8 IN > OUT.",
    ),
    Rule(
        "FT105",
        "binary file",
        "error",
        "The file is no text: a spreadsheet, a database, an image or a damaged file.",
        "Export the data as JSON Lines: one JSON object a line, in UTF-8.",
    ),
    Rule(
        "FT106",
        "compressed file",
        "error",
        "Compressed files are not read yet, and services do not take them.",
        "Decompress it first, for example with gzip -d or zstd -d.",
    ),
    Rule(
        "FT107",
        "blank line",
        "warning",
        "Most readers skip blank lines; some services refuse the file.",
        "Remove the line.",
    ),
    Rule(
        "FT108",
        "half of a surrogate pair",
        "error",
        "The escape stands for no character, so the text cannot be written as UTF-8.",
        "Write the character itself; the text was probably cut in the middle of an emoji.",
    ),
    # --- FT2xx: JSON ----------------------------------------------------------------------
    Rule(
        "FT201",
        "not JSON",
        "error",
        "The line cannot be parsed; nothing in it can be trained on.",
        "Write the line with a JSON library, such as json.dumps(row, ensure_ascii=False).",
    ),
    Rule(
        "FT202",
        "trailing comma",
        "error",
        "JSON allows no comma before a closing bracket or at the end of a line.",
        "Remove the comma.",
    ),
    Rule(
        "FT203",
        "two values on one line",
        "error",
        "Each line is one example; what follows the first value is lost or refused.",
        "Put every object on a line of its own, ended by a line feed.",
    ),
    Rule(
        "FT204",
        "line ends too early",
        "error",
        "A string, list or object is still open: the file was cut, or a text holds a raw line "
        "break.",
        "Write line breaks inside texts as \\n; if the file was cut, copy it again.",
    ),
    Rule(
        "FT205",
        "key given twice",
        "error",
        "Readers keep one of the two values and drop the other without a word.",
        "Keep one of the two.",
    ),
    Rule(
        "FT206",
        "NaN or Infinity",
        "error",
        "JSON has no such numbers; most services refuse the file.",
        "Remove the key, or write null or a number.",
    ),
    Rule(
        "FT207",
        "raw control character in a string",
        "error",
        "JSON wants characters below U+0020 escaped.",
        "Escape it: a tab is \\t, a carriage return \\r.",
    ),
    Rule(
        "FT208",
        "number out of range",
        "error",
        "The number does not fit a 64-bit float, so readers disagree about it.",
        "Write a smaller number, or a string.",
    ),
    Rule(
        "FT209",
        "nested too deeply",
        "error",
        "No example needs more than 64 levels; JSON readers of services give up too.",
        "Flatten the value, or write it as a string.",
    ),
    Rule(
        "FT210",
        "line too large",
        "error",
        "The line is larger than any example a service takes (160 MiB or a million values).",
        "Check that the file has line feeds between its objects; split the example.",
    ),
    Rule(
        "FT211",
        "one JSON list instead of lines",
        "error",
        "Services read one object a line and refuse a list.",
        "Write one object per line, for example: jq -c '.[]' IN > OUT.",
    ),
    Rule(
        "FT212",
        "JSON spread over several lines",
        "error",
        "Each line must be a whole object; indented JSON is not JSON Lines.",
        "Write each object on one line, for example: jq -c . IN > OUT.",
    ),
    # --- FT3xx: the shape of a row --------------------------------------------------------
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
    # --- FT4xx: the conversation ----------------------------------------------------------
    Rule(
        "FT401",
        "last message is not the assistant's",
        "error",
        "Training teaches the assistant's answer, so the example has to end with one.",
        "Add the answer, or remove the messages after the last one.",
    ),
    Rule(
        "FT402",
        "no trained assistant turn",
        "error",
        "Every assistant message has weight 0, so the example teaches nothing.",
        "Set one weight to 1 or remove it.",
    ),
    Rule(
        "FT403",
        "weight outside assistant messages",
        "error",
        "Only assistant turns are trained, so only they can be weighted.",
        "Remove the weight.",
    ),
    Rule(
        "FT404",
        "weight is neither 0 nor 1",
        "error",
        "The wire knows trained (1) and not trained (0), as integers.",
        "Write 0 or 1.",
    ),
    Rule(
        "FT405",
        "assistant says nothing",
        "error",
        "The model would learn to answer with nothing.",
        "Write the answer, or remove the example.",
    ),
    Rule(
        "FT406",
        "content is null",
        "error",
        "Only an assistant message with tool_calls may leave its content null.",
        "Write the content.",
    ),
    Rule(
        "FT407",
        "empty message",
        "warning",
        "An empty system or user message is usually a lost column.",
        "Write the text, or remove the message.",
    ),
    Rule(
        "FT408",
        "conversation opens with the assistant",
        "warning",
        "The wire takes it, but many chat templates want a user message first.",
        "Put the user's message before it.",
    ),
    Rule(
        "FT409",
        "assistant twice in a row",
        "warning",
        "The wire takes it, but many chat templates fail on it or join the turns.",
        "Join the two messages, or add the user's message between them.",
    ),
    Rule(
        "FT410",
        "tool result without a call",
        "error",
        "A tool message answers a call of the assistant message right before it.",
        "Correct the tool_call_id, or add the call.",
    ),
    Rule(
        "FT411",
        "tool call without a result",
        "error",
        "Every call needs its tool message before the conversation goes on.",
        "Add a tool message with this id right after the calls.",
    ),
    Rule(
        "FT412",
        "tool call id used twice",
        "error",
        "Results cannot be told apart.",
        "Give every call of a message an id of its own.",
    ),
    Rule(
        "FT413",
        "arguments are not a string",
        "error",
        "On the wire the arguments of a call are JSON inside a string.",
        "Dump the object to a string: json.dumps(arguments).",
    ),
    Rule(
        "FT414",
        "arguments do not hold a JSON object",
        "error",
        "The model would learn to write calls that cannot be parsed.",
        "Write a JSON object inside the string; for no arguments, {}.",
    ),
    Rule(
        "FT415",
        "image outside user messages",
        "error",
        "Services take images from the user only.",
        "Move the image to a user message.",
    ),
    Rule(
        "FT416",
        "system message inside the conversation",
        "warning",
        "The wire takes it, but many chat templates want it first or drop it.",
        "Move it to the front.",
    ),
    Rule(
        "FT417",
        "key in the wrong role",
        "error",
        "Only the assistant calls tools, and only tool messages answer a call.",
        "Remove the key, or correct the role.",
    ),
    Rule(
        "FT421",
        "preference output without an assistant message",
        "error",
        "DPO compares two answers of the assistant.",
        "Add the assistant's answer.",
    ),
    Rule(
        "FT422",
        "wrong role in a preference output",
        "error",
        "An output holds what the assistant says, and the results of its tool calls.",
        "Move the message to input.messages.",
    ),
    Rule(
        "FT423",
        "preferred and non-preferred output are equal",
        "warning",
        "Equal answers teach nothing.",
        "Remove the example, or correct one of the two.",
    ),
    Rule(
        "FT424",
        "preference input ends with the assistant",
        "warning",
        "The outputs should answer the user; here the assistant has already spoken.",
        "Move the assistant's message into the outputs.",
    ),
    # --- FT5xx: the file as a whole -------------------------------------------------------
    Rule(
        "FT501",
        "no examples",
        "error",
        "There is nothing to train on.",
        "Write one example a line.",
    ),
    Rule(
        "FT502",
        "too few examples",
        "error",
        "Hosted services fail the job after the upload; start with 50 to 100 examples.",
        "Add examples.",
    ),
    Rule(
        "FT503",
        "examples of different methods",
        "error",
        "A job trains with one method, decided by the first example of the file.",
        "Split the file, one method each.",
    ),
    Rule(
        "FT504",
        "file changed while it was read",
        "error",
        "The findings may belong to neither version of it.",
        "Check it again when nothing writes to it.",
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.code: rule for rule in _TABLE})
"""Every rule by its code, in the order of the codes."""


def explain(code: str) -> Rule:
    """The rule of a code, upper or lower case.

    Raises:
        ConfigError: there is no such code.
    """
    rule = RULES.get(code.upper())
    if rule is None:
        near = difflib.get_close_matches(code.upper(), RULES, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Codes run from FT101 to FT504."
        raise ConfigError(f"unknown code {code[:20]!r}", hint=hint)
    return rule
