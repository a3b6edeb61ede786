"""The conversation: FT4xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT401",
        "last message is not the assistant's",
        "error",
        "Training teaches the assistant's answer, so the example has to end with one.",
        "Add the answer, or remove the messages after the last one.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}, {"role": "user", "content": "Hi"}]}',
    ),
    Rule(
        "FT402",
        "no trained assistant turn",
        "error",
        "Every assistant message has weight 0, so the example teaches nothing.",
        "Set one weight to 1 or remove it.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!", "weight": 0}]}',
    ),
    Rule(
        "FT403",
        "weight outside assistant messages",
        "error",
        "Only assistant turns are trained, so only they can be weighted.",
        "Remove the weight.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi", "weight": 1}, {"role":'
        ' "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT404",
        "weight is neither 0 nor 1",
        "error",
        "The wire knows trained (1) and not trained (0), as integers.",
        "Write 0 or 1.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!", "weight": 0.5}]}',
    ),
    Rule(
        "FT405",
        "assistant says nothing",
        "error",
        "The model would learn to answer with nothing.",
        "Write the answer, or remove the example.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": ""}]}',
    ),
    Rule(
        "FT406",
        "content is null",
        "error",
        "Only an assistant message with tool_calls may leave its content null.",
        "Write the content.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": null}]}',
    ),
    Rule(
        "FT407",
        "empty message",
        "warning",
        "An empty system or user message is usually a lost column.",
        "Write the text, or remove the message.",
        example='{"messages": [{"role": "system", "content": ""}, {"role": "user", "content":'
        ' "Hi"}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT408",
        "conversation opens with the assistant",
        "warning",
        "The wire takes it, but many chat templates want a user message first.",
        "Put the user's message before it.",
        example='{"messages": [{"role": "assistant", "content": "Hello!"}, {"role": "user",'
        ' "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT409",
        "assistant twice in a row",
        "warning",
        "The wire takes it, but many chat templates fail on it or join the turns.",
        "Join the two messages, or add the user's message between them.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT410",
        "tool result without a call",
        "error",
        "A tool message answers a call of the assistant message right before it.",
        "Correct the tool_call_id, or add the call.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}, {"role": "user", "content": "Hi"}, {"role": "tool",'
        ' "tool_call_id": "a", "content": "3"}, {"role": "assistant", "content":'
        ' "Hello!"}]}',
    ),
    Rule(
        "FT411",
        "tool call without a result",
        "error",
        "Every call needs its tool message before the conversation goes on.",
        "Add a tool message with this id right after the calls.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stock",'
        ' "arguments": "{}"}}]}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT412",
        "tool call id used twice",
        "error",
        "Results cannot be told apart.",
        "Give every call of a message an id of its own.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stock",'
        ' "arguments": "{}"}}, {"id": "a", "type": "function", "function": {"name":'
        ' "stock", "arguments": "{}"}}]}]}',
    ),
    Rule(
        "FT413",
        "arguments are not a string",
        "error",
        "On the wire the arguments of a call are JSON inside a string.",
        "Dump the object to a string: json.dumps(arguments).",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stock",'
        ' "arguments": {}}}]}]}',
    ),
    Rule(
        "FT414",
        "arguments do not hold a JSON object",
        "error",
        "The model would learn to write calls that cannot be parsed.",
        "Write a JSON object inside the string; for no arguments, {}.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stock",'
        ' "arguments": "shelf=3"}}]}]}',
    ),
    Rule(
        "FT415",
        "image outside user messages",
        "error",
        "Services take images from the user only.",
        "Move the image to a user message.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": [{"type": "image_url", "image_url": {"url":'
        ' "https://lamps.example/a.png"}}]}]}',
    ),
    Rule(
        "FT416",
        "system message inside the conversation",
        "warning",
        "The wire takes it, but many chat templates want it first or drop it.",
        "Move it to the front.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content":'
        ' "Be brief."}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT417",
        "key in the wrong role",
        "error",
        "Only the assistant calls tools, and only tool messages answer a call.",
        "Remove the key, or correct the role.",
        example='{"messages": [{"role": "user", "content": "Hi", "tool_call_id": "a"}, {"role":'
        ' "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT418",
        "tool that the row does not declare",
        "warning",
        "The model would learn to call a function that it has not been given.",
        "Correct the name, or add the function to tools.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stok",'
        ' "arguments": "{}"}}]}], "tools": [{"type": "function", "function": {"name":'
        ' "stock", "parameters": {"type": "object", "properties": {"shelf": {"type":'
        ' "integer"}}}}}]}',
    ),
    Rule(
        "FT419",
        "arguments that break the schema of the tool",
        "warning",
        "The model would learn calls that the function refuses.",
        "Correct the arguments, or the schema in tools.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stock",'
        ' "arguments": "{\\"shelf\\": \\"three\\"}"}}]}], "tools": [{"type":'
        ' "function", "function": {"name": "stock", "parameters": {"type": "object",'
        ' "properties": {"shelf": {"type": "integer"}}}}}]}',
    ),
    Rule(
        "FT420",
        "schema of a tool is broken",
        "error",
        "Services refuse tools whose parameters are not valid JSON Schema.",
        "Correct the schema; types are string, number, integer, boolean, object, array and null.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}], "tools": [{"type": "function", "function": {"name":'
        ' "stock", "parameters": {"properties": {"shelf": {"type": "int"}}}}}]}',
    ),
    Rule(
        "FT421",
        "preference output without an assistant message",
        "error",
        "DPO compares two answers of the assistant.",
        "Add the assistant's answer.",
        example='{"input": {"messages": [{"role": "user", "content": "Hi"}]},'
        ' "preferred_output": [{"role": "user", "content": "Hi"}],'
        ' "non_preferred_output": [{"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT422",
        "wrong role in a preference output",
        "error",
        "An output holds what the assistant says, and the results of its tool calls.",
        "Move the message to input.messages.",
        example='{"input": {"messages": [{"role": "user", "content": "Hi"}]},'
        ' "preferred_output": [{"role": "assistant", "content": "Hello!"}, {"role":'
        ' "user", "content": "Hi"}], "non_preferred_output": [{"role": "assistant",'
        ' "content": "Go away."}]}',
    ),
    Rule(
        "FT423",
        "preferred and non-preferred output are equal",
        "warning",
        "Equal answers teach nothing.",
        "Remove the example, or correct one of the two.",
        fixable="unsafe",
        example='{"input": {"messages": [{"role": "user", "content": "Hi"}]},'
        ' "preferred_output": [{"role": "assistant", "content": "Hello!"}],'
        ' "non_preferred_output": [{"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT424",
        "preference input ends with the assistant",
        "warning",
        "The outputs should answer the user; here the assistant has already spoken.",
        "Move the assistant's message into the outputs.",
        example='{"input": {"messages": [{"role": "user", "content": "Hi"}, {"role":'
        ' "assistant", "content": "Hello!"}]}, "preferred_output": [{"role":'
        ' "assistant", "content": "Bye!"}], "non_preferred_output": [{"role":'
        ' "assistant", "content": "Go away."}]}',
    ),
    Rule(
        "FT425",
        "image in a preference example",
        "error",
        "DPO is trained on text.",
        "Remove the example, or describe the image in words.",
        example='{"input": {"messages": [{"role": "user", "content": [{"type": "image_url",'
        ' "image_url": {"url": "https://lamps.example/a.png"}}]}]}, "preferred_output":'
        ' [{"role": "assistant", "content": "Hello!"}], "non_preferred_output":'
        ' [{"role": "assistant", "content": "Go away."}]}',
    ),
    Rule(
        "FT426",
        "schema of a tool is too complex",
        "warning",
        "Holding the arguments against it would take too long, so nothing has been said"
        " about them.",
        "Shorten the schema; avoid references that lead to themselves several times.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "tool_calls": [{"id": "a", "type": "function", "function": {"name": "stock",'
        ' "arguments": "{}"}}]}], "tools": [{"type": "function", "function": {"name":'
        ' "stock", "parameters": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}]}',
    ),
    Rule(
        "FT427",
        "tool declared twice",
        "error",
        "A call names its tool, so no two tools of a row may have one name.",
        "Remove or rename one of the two.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}], "tools": [{"type": "function", "function": {"name":'
        ' "stock", "parameters": {"type": "object", "properties": {"shelf": {"type":'
        ' "integer"}}}}}, {"type": "function", "function": {"name": "stock",'
        ' "parameters": {"type": "object", "properties": {"shelf": {"type":'
        ' "integer"}}}}}]}',
    ),
    Rule(
        "FT431",
        "empty completion",
        "error",
        "The model would learn to answer with nothing.",
        "Write the completion, or remove the example.",
        example='{"prompt": "Hi ->", "completion": ""}',
    ),
    Rule(
        "FT432",
        "prompt and completion run together",
        "warning",
        "Without a separator the model cannot tell where the prompt ends.",
        'End the prompt with a line break or " ->", or begin the completion with a space.',
        example='{"prompt": "Hi", "completion": "Hello!"}',
    ),
)
