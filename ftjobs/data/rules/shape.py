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
        example='"Hello!"',
    ),
    Rule(
        "FT302",
        "wrong type",
        "error",
        "Services check types before training and fail the job.",
        "Give the value the type that the message names.",
        example='{"messages": [{"role": "user", "content": 42}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT303",
        "missing key",
        "error",
        "The example cannot be understood without it.",
        "Add the key.",
        example='{"messages": [{"role": "user"}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT304",
        "unknown key",
        "warning",
        "Some services ignore it, others refuse the file; if it is misspelt, it has no effect.",
        "Correct the spelling, or remove the key.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!", "wieght": 1}]}',
    ),
    Rule(
        "FT305",
        "empty list",
        "error",
        "There is nothing in it to train on.",
        "Fill the list, or remove the example.",
        example='{"messages": []}',
    ),
    Rule(
        "FT306",
        "unknown role",
        "error",
        "A message is from the system, the user, the assistant or a tool.",
        'Use "system", "user", "assistant" or "tool", in lower case.',
        fixable="safe",
        example='{"messages": [{"role": "User", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT307",
        "role that not every service takes",
        "warning",
        "Services confirm only system, user, assistant and tool in training files.",
        'Use "system" for "developer" and "tool" for "function".',
        fixable="unsafe",
        example='{"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user",'
        ' "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT308",
        "unknown content part",
        "error",
        "Content lists may hold texts, and images in user messages.",
        'Use {"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": ...}}.',
        example='{"messages": [{"role": "user", "content": [{"type": "video", "video":'
        ' "a.mp4"}]}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT309",
        "value not allowed",
        "error",
        "Services refuse values outside the list or pattern that the message names.",
        "Use one of the allowed values.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}], "tools": [{"type": "function", "function": {"name":'
        ' "stock of lamps", "parameters": {"type": "object", "properties": {"shelf":'
        ' {"type": "integer"}}}}}]}',
    ),
    Rule(
        "FT310",
        "optional key that holds nothing",
        "warning",
        "Some services refuse null or an empty list where a key could be left out.",
        "Leave the key out.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}], "tools": []}',
    ),
    Rule(
        "FT311",
        "key of the old function calls",
        "warning",
        "Functions became tools; newer models and most services no longer take the old keys.",
        'Use "tools" for "functions" and "tool_calls" for "function_call".',
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "function_call": {"name": "stock", "arguments": "{}"}}]}',
    ),
    Rule(
        "FT312",
        "name that services may refuse",
        "warning",
        "The chat API takes up to 64 characters, without spaces and without < | \\ / and >.",
        "Shorten the name, or write a dash for what is refused.",
        example='{"messages": [{"role": "user", "name": "Mio M.", "content": "Hi"}, {"role":'
        ' "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT321",
        "prompt and completion instead of messages",
        "error",
        "This is the legacy shape, which this target does not train with; chat models"
        " train on messages.",
        "Convert the file: ftjobs data convert FILE -o OUT.",
        example='{"prompt": "Hi ->", "completion": " Hello!"}',
    ),
    Rule(
        "FT322",
        "Alpaca rows instead of messages",
        "error",
        "The services know messages, not instruction and output.",
        "Convert the file: ftjobs data convert FILE -o OUT.",
        example='{"instruction": "Greet.", "input": "", "output": "Hello!"}',
    ),
    Rule(
        "FT323",
        "ShareGPT rows instead of messages",
        "error",
        "The services know messages with role and content, not from and value.",
        "Convert the file: ftjobs data convert FILE -o OUT.",
        example='{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value":'
        ' "Hello!"}]}',
    ),
    Rule(
        "FT324",
        "table instead of JSON Lines",
        "error",
        "Jobs read JSON Lines; a table says nothing about who speaks.",
        "Convert the file: ftjobs data convert FILE -o OUT.",
        example="instruction,output\nGreet.,Hello!",
    ),
    Rule(
        "FT325",
        "prompts instead of training examples",
        "error",
        "The rows end with the user and have further keys: items for reinforcement, or"
        " prompts for ftjobs compare.  There is no answer to learn.",
        "Add the answers, or choose a target that trains with reinforcement.",
        example='{"messages": [{"role": "user", "content": "Hi"}], "expected": "Hello!"}',
    ),
)
