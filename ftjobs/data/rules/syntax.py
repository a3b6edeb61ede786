"""JSON itself: FT2xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT201",
        "not JSON",
        "error",
        "The line cannot be parsed; nothing in it can be trained on.",
        "Write the line with a JSON library, such as json.dumps(row, ensure_ascii=False).",
        fixable="safe",
        example="{'messages': []}",
    ),
    Rule(
        "FT202",
        "trailing comma",
        "error",
        "JSON allows no comma before a closing bracket or at the end of a line.",
        "Remove the comma.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]},',
    ),
    Rule(
        "FT203",
        "two values on one line",
        "error",
        "Each line is one example; what follows the first value is lost or refused.",
        "Put every object on a line of its own, ended by a line feed.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]} {"messages": [{"role": "user", "content": "Hi"},'
        ' {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT204",
        "line ends too early",
        "error",
        "A string, list or object is still open: the file was cut, or a text holds a"
        " raw line break.",
        "Write line breaks inside texts as \\n; if the file was cut, copy it again.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content":',
    ),
    Rule(
        "FT205",
        "key given twice",
        "error",
        "Readers keep one of the two values and drop the other without a word.",
        "Keep one of the two.",
        fixable="safe",
        example='{"messages": [{"role": "user", "role": "user", "content": "Hi"}, {"role":'
        ' "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT206",
        "NaN or Infinity",
        "error",
        "JSON has no such numbers; most services refuse the file.",
        "Remove the key, or write null or a number.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}], "tools": [{"type": "function", "function": {"name":'
        ' "stock", "parameters": {"maximum": NaN}}}]}',
    ),
    Rule(
        "FT207",
        "raw control character in a string",
        "error",
        "JSON wants characters below U+0020 escaped.",
        "Escape it: a tab is \\t, a carriage return \\r.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!\tBye."}]}',
    ),
    Rule(
        "FT208",
        "number out of range",
        "error",
        "The number does not fit a 64-bit float, so readers disagree about it.",
        "Write a smaller number, or a string.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}], "tools": [{"type": "function", "function": {"name":'
        ' "stock", "parameters": {"maximum": 1e999}}}]}',
    ),
    Rule(
        "FT209",
        "nested too deeply",
        "error",
        "No example needs more than 64 levels; JSON readers of services give up too.",
        "Flatten the value, or write it as a string.",
        example='{"messages":'
        " [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]"
        "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
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
        fixable="safe",
        example='[{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}]',
    ),
    Rule(
        "FT212",
        "JSON spread over several lines",
        "error",
        "Each line must be a whole object; indented JSON is not JSON Lines.",
        "Write each object on one line, for example: jq -c . IN > OUT.",
        fixable="safe",
        example='{\n  "messages": []\n}',
    ),
)
