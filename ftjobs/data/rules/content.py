"""What the texts and images of a row hold: FT6xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT601",
        "reserved token of OpenAI in the text",
        "warning",
        "Tokenizers read it as the token, not as text; jobs of OpenAI's models have failed on it.",
        "Remove it: chat templates and services add these tokens themselves.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!<|endoftext|>"}]}',
    ),
    Rule(
        "FT602",
        "reserved token of a model in the text",
        "warning",
        "Models of that family read it as the token: turns end early, or roles change.",
        "Remove it: chat templates add these tokens themselves.",
        example='{"messages": [{"role": "user", "content": "[INST] Hi [/INST]"}, {"role":'
        ' "assistant", "content": "Hello!"}]}',
    ),
    Rule(
        "FT603",
        "control character in the text",
        "warning",
        "It cannot be seen, and is mostly left over from a terminal, a database or a"
        " wrong encoding.",
        "Remove it; line breaks, tabs and form feeds are fine.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "Hi\\u0000"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT604",
        "invisible character in the text",
        "warning",
        "It cannot be seen but splits words into other tokens, and may hide instructions.",
        "Remove it, unless the writing system needs it here.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "H\\u200bi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT605",
        "character that reverses the text",
        "warning",
        "What a human sees is not what the model reads.",
        "Remove it; right-to-left scripts need no override.",
        fixable="unsafe",
        example='{"messages": [{"role": "user", "content": "\\u202eiH"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT606",
        "replacement character in the text",
        "warning",
        "A character was lost when the text was decoded with a wrong encoding.",
        "Decode the source again with its real encoding.",
        example='{"messages": [{"role": "user", "content": "Caf\ufffd?"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT607",
        "text decoded with a wrong encoding",
        "warning",
        "The model would learn to write like that.",
        "Decode the source as UTF-8.",
        example='{"messages": [{"role": "user", "content": "CafÃ©?"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT611",
        "more images than the target takes",
        "error",
        "Services refuse or skip such examples.",
        "Leave images out, split the example, or choose another target.",
        example='{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":'
        ' {"url": "https://lamps.example/a.png"}}]}, {"role": "assistant", "content":'
        ' "Hello!"}]}',
    ),
    Rule(
        "FT612",
        "image too large",
        "error",
        "Services refuse or skip the example.",
        "Scale the image down, or compress it more.",
    ),
    Rule(
        "FT613",
        "image format that the target does not take",
        "error",
        "Services take JPEG, PNG and WEBP, whatever the URL declares.",
        "Convert the image.",
        example='{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":'
        ' {"url": "data:image/gif;base64,R0lGODlh"}}]}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT614",
        "image of another type than declared",
        "warning",
        "Some services trust the declaration and fail to decode the image.",
        "Declare the type that the image has.",
        example='{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":'
        ' {"url": "data:image/jpeg;base64,iVBORw0KGgo="}}]}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT615",
        "image that cannot be decoded",
        "error",
        "Services skip the example or fail the job.",
        "Write data:image/png;base64, and standard base64 without spaces or line breaks.",
        example='{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":'
        ' {"url": "data:image/png;base64,iVBOR"}}]}, {"role": "assistant", "content":'
        ' "Hello!"}]}',
    ),
    Rule(
        "FT616",
        "image address that cannot be fetched",
        "error",
        "Services fetch images over https, or take them inside a data URL.",
        "Use an https address, or a data URL.",
        example='{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":'
        ' {"url": "file:///tmp/a.png"}}]}, {"role": "assistant", "content": "Hello!"}]}',
    ),
)
