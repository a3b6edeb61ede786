"""Kinds of damage to what texts and images hold, and to how a file fits its target."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from random import Random

import zstandard

from tests.data.mutations import (
    TALK,
    Expected,
    Found,
    Result,
    call_of,
    message_of,
    on_file,
    on_row,
    say,
)
from tests.data.rows import (
    METHODS,
    Row,
    clean_lines,
    data_url,
    image,
    joined,
    jpeg,
    part,
    png,
)

ENGLISH = ("Where is the lamp?", "It is on the shelf.", "One moment", "The parcel, they said")

# --- texts ------------------------------------------------------------------------------------


def _around(rng: Random, odd: str) -> str:
    """English with an odd text somewhere between its words."""
    spoken = rng.choice(ENGLISH).split()
    at = rng.randint(0, len(spoken))
    return " ".join([*spoken[:at], f"x{odd}y", *spoken[at:]])


ODD_TEXTS = {
    "token_of_openai": (
        "FT601",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_suffix|>", "<|ENDOFTEXT|>"),
    ),
    "token_of_a_model": (
        "FT602",
        ("<|eot_id|>", "<|start_header_id|>", "<｜end▁of▁sentence｜>", "<start_of_turn>"),
    ),
    "token_of_a_template": ("FT602", ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]")),
    "control_character": ("FT603", ("\x00", "\x07", "\x1b[0m", "\x08", "\x7f", "\x85", "\x9f")),
    "invisible_character": ("FT604", ("\u200b", "\ufeff", "\u2060", "\u200e", "\u200d", "\u200c")),
    "hidden_message": ("FT604", ("\U000e0048\U000e0069", "\U000e0041")),
    "reversed_text": ("FT605", ("\u202e", "\u202d")),
    "lost_character": ("FT606", ("\ufffd",)),
    "wrong_encoding": ("FT607", ("cafÃ©", "donâ€™t", " Â£5", "â€œyes", "Ã¼".join("zz"))),
}
"""Name of a kind → the code, and texts that are odd between English words."""


def _in_text(code: str, odd: tuple[str, ...]) -> Callable[[Random, Row], Iterator[Found]]:
    def damage(rng: Random, damaged: Row) -> Iterator[Found]:
        said = _around(rng, rng.choice(odd) * rng.choice((1, 1, 3)))
        yield code, say(rng, damaged, said)

    return damage


def _in_arguments(code: str, odd: tuple[str, ...]) -> Callable[[Random, Row], Iterator[Found]]:
    def damage(rng: Random, damaged: Row) -> Iterator[Found]:
        call, where = call_of(rng, damaged)
        given = json.loads(call["function"]["arguments"])
        del damaged["tools"]
        given["note"] = [{"text": _around(rng, rng.choice(odd))}]
        dumped = json.dumps(given, ensure_ascii=rng.random() < 0.5)
        call["function"]["arguments"] = dumped
        yield code, f"{where}/function/arguments"

    return damage


for _name, (_code, _odd) in ODD_TEXTS.items():
    on_row(*METHODS, name=_name)(_in_text(_code, _odd))
    on_row("supervised", forms=["parallel"], name=f"{_name}_in_arguments")(
        _in_arguments(_code, _odd)
    )


@on_row(*METHODS)
def token_at_the_end(rng: Random, damaged: Row) -> Iterator[Found]:
    said = rng.choice(ENGLISH)
    ends = (f"{said}</s>", f"{said} </s>\n", f"<s>{said}", f"<s> {said}", f"{said}<eos>")
    yield "FT602", say(rng, damaged, rng.choice(ends))


# --- images -----------------------------------------------------------------------------------


def _show(rng: Random, damaged: Row, *images: Row) -> str:
    """Let a user show images; where the last one's address then stands."""
    message, where = message_of(rng, damaged, "user")
    message["content"] = [*images, part(rng.choice(ENGLISH))]
    return f"{where}/content/{len(images) - 1}/image_url/url"


def _picture(url: str) -> Row:
    return {"type": "image_url", "image_url": {"url": url}}


def _encoded(kind: str, data: bytes) -> Row:
    return _picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")


@on_row("supervised", forms=TALK, target="openai")
def more_images_than_taken(rng: Random, damaged: Row) -> Iterator[Found]:
    where = _show(rng, damaged, *(image(rng, at) for at in range(rng.randint(11, 13))))
    where = re.sub(r"\d+(?=/image_url)", "10", where)
    yield "FT611", where


@on_row("supervised", forms=["image"], target="local")
def image_where_none_is_taken(rng: Random, damaged: Row) -> Iterator[Found]:
    places = (
        f"/messages/{at}/content/{inner}/image_url/url"
        for at, message in enumerate(damaged["messages"])
        for inner, one in enumerate(message["content"])
        if message["role"] == "user" and one["type"] == "image_url"
    )
    yield "FT611", next(places)


@on_row("supervised", forms=TALK, target="openai")
def image_of_another_format(rng: Random, damaged: Row) -> Iterator[Found]:
    files = {
        "gif": b"GIF89a\x01\x00\x01\x00",
        "bmp": b"BM\x3a\x00\x00\x00",
        "tiff": b"II*\x00\x08",
        "svg+xml": b"<svg/>",
        "heic": b"\x00\x00\x00\x18ftypheic",
        "png": b"not an image",
    }
    kind = rng.choice(tuple(files))
    yield "FT613", _show(rng, damaged, _encoded(kind, files[kind]))


@on_row("supervised", forms=TALK, target="openai")
def image_of_another_type_than_declared(rng: Random, damaged: Row) -> Iterator[Found]:
    wrong = (("jpeg", png(rng)), ("png", jpeg(rng)), ("webp", png(rng)), ("gif", jpeg(rng)))
    yield "FT614", _show(rng, damaged, _encoded(*rng.choice(wrong)))


@on_row("supervised", forms=TALK, target="openai")
def image_that_cannot_be_decoded(rng: Random, damaged: Row) -> Iterator[Found]:
    whole = data_url(rng, "png")
    broken = (
        whole[:-1],
        whole.replace("base64,", "base64, "),
        whole.replace(";base64", ""),
        f"{whole[:60]}\n{whole[60:]}",
        f"{whole[:60]}-_{whole[62:]}",
        "data:image/png,%89PNG",
    )
    yield "FT615", _show(rng, damaged, _picture(rng.choice(broken)))


@on_row("supervised", forms=TALK, target="openai")
def image_that_cannot_be_fetched(rng: Random, damaged: Row) -> Iterator[Found]:
    addresses = ("http://images.lamps.example/1.png", "file:///tmp/1.png", "images/1.png", "")
    others = ("https:/images.lamps.example/1.png", "https://lamps.example/a b.png", "gs://a/b")
    yield "FT616", _show(rng, damaged, _picture(rng.choice((*addresses, *others))))


@on_row("dpo", forms=TALK)
def image_among_preferences(rng: Random, damaged: Row) -> Iterator[Found]:
    where = _show(rng, damaged, image(rng, 1))
    yield "FT425", where.removesuffix("/image_url/url")


# --- targets ----------------------------------------------------------------------------------


@on_file("reinforcement", target="local")
def prompts_instead_of_examples(rng: Random, lines: list[bytes]) -> Result:
    return joined(rng, lines), [Expected("FT325", 1, "")]


@on_file("completion", target="local")
def completions_instead_of_messages(rng: Random, lines: list[bytes]) -> Result:
    return joined(rng, lines), [Expected("FT321", 1, "")]


@on_file("supervised", target="openai")
def compressed_for_a_service(rng: Random, lines: list[bytes]) -> Result:
    pack = rng.choice((gzip.compress, zstandard.compress))
    return pack(joined(rng, lines)), [Expected("FT106", None, "")]


@on_file("dpo", target="nebius")
def method_that_is_not_trained(rng: Random, lines: list[bytes]) -> Result:
    return joined(rng, lines), [Expected("FT507", None, "")]


@on_file("completion", target="together")
def rows_of_every_method(rng: Random, lines: list[bytes]) -> Result:
    at = rng.randrange(1, len(lines))
    method = rng.choice(("supervised", "dpo"))
    lines[at : at + 1] = clean_lines(rng, method, 1)
    return joined(rng, lines), [Expected("FT503", at + 1, "")]
