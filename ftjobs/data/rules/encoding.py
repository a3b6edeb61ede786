"""The bytes: FT1xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT101",
        "byte order mark at the start",
        "warning",
        "Strict JSON readers refuse the first line of such a file.",
        'Save the file as UTF-8 without a byte order mark (in Excel and Notepad: not "with BOM").',
        fixable="safe",
        example='\ufeff{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT102",
        "byte order mark inside the file",
        "error",
        "It is not JSON.  It appears where files that start with one were joined.",
        "Remove the byte order marks, then join the files.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}\n\ufeff{"messages": [{"role": "user", "content":'
        ' "Hi"}, {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT103",
        "UTF-16 or UTF-32",
        "error",
        "JSON Lines is UTF-8; services read nothing else.",
        "Convert it, for example: iconv -f UTF-16 -t UTF-8 IN > OUT.",
        fixable="safe",
    ),
    Rule(
        "FT104",
        "not UTF-8",
        "error",
        "The line holds bytes that no UTF-8 text has, so its text cannot be known.",
        "Convert it from its real encoding, for example: iconv -f CP932 -t UTF-8 IN > OUT.",
    ),
    Rule(
        "FT105",
        "binary file",
        "error",
        "The file is no text: a spreadsheet, a database, an image, an archive or a damaged file.",
        "Export the data as JSON Lines: one JSON object a line, in UTF-8.",
    ),
    Rule(
        "FT106",
        "compressed file",
        "warning",
        "ftjobs reads .gz and .zst as they are; hosted services take only plain JSON Lines.",
        "Decompress it before the upload, for example with gzip -d or zstd -d.",
    ),
    Rule(
        "FT107",
        "blank line",
        "warning",
        "Most readers skip blank lines; some services refuse the file.",
        "Remove the line.",
        fixable="safe",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}\n\n{"messages": [{"role": "user", "content": "Hi"},'
        ' {"role": "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT108",
        "half of a surrogate pair",
        "error",
        "The escape stands for no character, so the text cannot be written as UTF-8.",
        "Write the character itself; the text was probably cut in the middle of an emoji.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi \\ud83d"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT109",
        "expands more than allowed",
        "error",
        "So little data that becomes so much text is a mistake or an attack; it would"
        " fill the disk.",
        "Check where the file comes from; decompress it yourself if it is right.",
    ),
    Rule(
        "FT110",
        "compressed data is damaged or cut",
        "error",
        "The examples after the damage are lost.",
        "Copy or compress the file again.",
    ),
)
