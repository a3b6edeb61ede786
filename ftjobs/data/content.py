"""What the texts and images of a row hold: FT6xx.

`text_faults` and `image_faults` are pure functions of one value; `may_hold_faults` is a quick
look at a whole line that lets nothing pass of what they would report.

Many writing systems need characters that are noise elsewhere: Persian the zero-width non-joiner,
Indic scripts and emoji the joiner, Thai and Khmer the zero-width space, Hebrew and Arabic the
marks of direction.  Those are faults only where no such neighbour explains them.
"""

from __future__ import annotations

import binascii
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ftjobs.data.scan import CONTROL, Finding, Node, is_plain, offset_in, source_of
from ftjobs.data.search import finder
from ftjobs.data.targets import Target


class Fault(NamedTuple):
    """A broken rule in a text; `at` is the character where it is."""

    code: str
    message: str
    at: int = 0


# --- tokens that models reserve ---------------------------------------------------------------

OPENAI_TOKENS = frozenset(
    {
        *("endoftext", "endofprompt", "im_start", "im_end", "im_sep"),
        *("fim_prefix", "fim_middle", "fim_suffix"),
    }
)
"""What OpenAI's tokenizers reserve, between <| and |>."""

_OTHER_TOKENS = frozenset(
    {
        *("startoftext", "start", "end", "message", "channel", "return", "call", "constrain"),
        *("system", "user", "assistant", "tool", "observation", "developer"),
        *("eot", "eom", "pad", "image", "audio", "video", "think", "nothink"),
        *("endofsystemprompt", "endofturn", "startofturn", "separator"),
    }
)
_TOKEN = re.compile(r"<\|([A-Za-z][A-Za-z0-9_]{1,47})\|>")
_LITERAL = re.compile(
    r"<｜[^\s<>｜]{1,48}｜>"  # DeepSeek's, with full-width bars
    r"|<(?:start|end)_of_(?:turn|image)>"
    r"|\[/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]"
    r"|<</?SYS>>"
    r"|\A\s*<bos>|<eos>\s*\Z"
)
_OPENING = re.compile(r"\s*<s>")
_CLOSING = re.compile(r"</s>\s*\Z")


def _tokens(text: str) -> Iterator[Fault]:
    """FT601 and FT602."""
    for match in _TOKEN.finditer(text):
        name = match.group(1)
        if name.lower() in OPENAI_TOKENS:
            yield Fault("FT601", f"{match.group()} is a token, not text", match.start())
        elif name.lower() in _OTHER_TOKENS or "_" in name:  # <|x|> alone may be mathematics
            shown = match.group() if is_plain(name) else "<|...|>"
            yield Fault("FT602", f"{shown} is a token of some models, not text", match.start())
    for match in _LITERAL.finditer(text):
        yield Fault("FT602", "a token of some models stands in the text", match.start())
    yield from _sequence_ends(text)


def _sequence_ends(text: str) -> Iterator[Fault]:
    """FT602 for <s> and </s> at the ends of a text; in pairs they are HTML, struck through."""
    opening, closing = _OPENING.match(text), _CLOSING.search(text)
    if opening is not None and "</s" not in text:
        yield Fault("FT602", "<s> is a token of some models, not text", opening.end() - 3)
    if closing is not None and "<s" not in text:
        yield Fault("FT602", "</s> is a token of some models, not text", closing.start())


# --- characters that are not seen, or not meant -----------------------------------------------

_ODD = re.compile(
    "["
    "\x00-\x08\x0b\x0e-\x1f\x7f-\x9f"  # not tab, line feed, form feed, carriage return
    "\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\U000e0001-\U000e007f"
    "\ufffd"
    "]"
)
_OVERRIDES = "\u202d\u202e"
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069"
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_JOINING = re.compile(  # Hebrew, Arabic, Indic and South-East Asian scripts, and their kin
    "[\u0590-\u109f\u1700-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff]"
)
_UNSPACED = re.compile(  # scripts without spaces between words
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u3040-\u30ff\u3400-\u9fff"
    "\ua980-\ua9ff\uaa60-\uaadf]"
)
_EMOJI = re.compile("[\u2190-\u2bff\u3030\u303d\ufe0f\U0001f000-\U0001faff]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f")  # of Scotland, say
_MOJIBAKE = re.compile(  # UTF-8 read as Windows-1252, where no language writes such letters
    "â€[\x93\x94\x98\x99\x9c\x9d–—˜™œ“”¦¢]|(?<=[a-z])Ã[\xa0-\xbf]|(?<![A-ZÀ-Þ])Â[£¥©®°±·¡¿]"
)


def _characters(text: str) -> Iterator[Fault]:
    """FT603 to FT606."""
    text = _FLAG.sub(lambda flag: "\U0001f3f4" * len(flag.group()), text)
    directed = _RIGHT_TO_LEFT.search(text) is not None
    for match in _ODD.finditer(text):
        at, char = match.start(), match.group()
        if char == "\ufffd":
            yield Fault("FT606", "U+FFFD stands where a character was lost", at)
        elif unicodedata.category(char) == "Cc":
            yield Fault("FT603", f"control character U+{ord(char):04X} in the text", at)
        elif char in _OVERRIDES:
            yield Fault("FT605", f"{_named(char)} changes the order that is shown", at)
        elif not (directed and char in _DIRECTIONS) and not _is_called_for(text, at, char):
            yield Fault("FT604", f"invisible character {_named(char)} in the text", at)


def _is_called_for(text: str, at: int, char: str) -> bool:
    """Whether the neighbours of a zero-width space, a joiner or a non-joiner explain it."""
    around = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    if char == "\u200b":
        return any(map(_UNSPACED.match, around))
    if char == "\u200d" and all(map(_EMOJI.match, around)):
        return True
    return char in "\u200c\u200d" and any(map(_JOINING.match, around))


def _named(char: str) -> str:
    return f"U+{ord(char):04X} ({unicodedata.name(char, 'no name').lower()})"


def _mojibake(text: str) -> Iterator[Fault]:
    """FT607."""
    for match in _MOJIBAKE.finditer(text):
        yield Fault("FT607", "UTF-8 that was read as Windows-1252", match.start())


# --- texts ------------------------------------------------------------------------------------


MAX_FAULTS = 1000
"""Places of a text that each kind of look goes on for; after so many a text is hopeless."""


def text_faults(text: str) -> tuple[Fault, ...]:
    """FT601 to FT607 of one text, each code once: at its first place, with how often it is."""
    found: dict[str, list[Fault]] = {}
    for look in (_tokens, _characters, _mojibake):
        for fault in itertools.islice(look(text), MAX_FAULTS):
            found.setdefault(fault.code, []).append(fault)
    return tuple(map(_once, found.values()))


def _once(faults: list[Fault]) -> Fault:
    first, more = min(faults, key=lambda fault: fault.at), len(faults) - 1
    if not more:
        return first
    many = str(more) if len(faults) < MAX_FAULTS else "many"
    return first._replace(message=f"{first.message} (and {many} more like it)")


_ANGLE = re.compile(rb"<(?:\||\\?/?s>|start_of|end_of|<\\?/?SYS|bos>|eos>)")
_SQUARE = re.compile(rb"\[\\?/?(?:INST|TOOL|AVAIL)")
_ESCAPED = re.compile(  # escapes of odd characters, and of ASCII that a token may be written with
    rb"\\u(?:00(?:[01]|2[ef]|3[ce]|[4-9]|[cC][23]|[eE]2)|061[cC]"
    rb"|20(?:0[b-fB-F]|2[a-eA-E]|6[06-9])"
    rb"|[fF][eE][fF][fF]|[fF]{3}[dD]|[fF]{2}5[cC]|[dD][bB]40)"
)
_BACKSPACE = re.compile(rb"(?<!\\)(?:\\\\)*+\\b")  # the one odd character with a short escape
_WORDS = "|".join(
    (
        *("<\\|", "<s>", "</s>", "<start_of", "<end_of", "<bos>", "<eos>", "<<SYS", "<</SYS"),
        *("\\[INST", "\\[TOOL", "\\[AVAIL", "\\[/"),
        *("<\\\\/", "<<\\\\/", "\\[\\\\/", "\\\\u", "\\\\b"),  # with escapes of JSON
        *"\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e",
        *("â€", *"\u2060\u2066\u2067\u2068\u2069\ufeff\ufffd\uff5c"),
    )
)
_RARE = (  # what is left in UTF-8, by a byte that is searched fast
    (b"\xc2", re.compile(rb"\xc2[\x80-\x9f]|\xc3[\x82\x83]\xc2")),
    (b"\xf3", re.compile(rb"\xf3\xa0")),
)
_ODD_RAW = re.compile(
    rb"\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0\xa6-\xa9]"
    rb"|\xef(?:\xbb\xbf|\xbf\xbd|\xbd\x9c)|\xd8\x9c|\xc3\xa2\xe2\x82\xac"
)


def may_hold_faults(text: bytes) -> bool:
    """Whether a line, or a block of lines, may hold what `text_faults` reports.

    `text` is UTF-8.  False is certain, True is not.  It takes 0.2 ns a byte of ASCII.
    """
    if not text.isascii() and any(byte in text and rare.search(text) for byte, rare in _RARE):
        return True
    return b"\x7f" in text or (finder(_WORDS)(text) and _looks_faulty(text))


def _looks_faulty(text: bytes) -> bool:
    return (
        (b"<" in text and _ANGLE.search(text) is not None)
        or _SQUARE.search(text) is not None
        or (b"\\" in text and _may_escape_faults(text))
        or (not text.isascii() and _ODD_RAW.search(text) is not None)
    )


def _may_escape_faults(text: bytes) -> bool:
    if _ESCAPED.search(text):
        return True
    # inside arguments every escape is escaped once more
    return b"\\b" in text and (b'arguments"' in text or _BACKSPACE.search(text) is not None)


# --- images -----------------------------------------------------------------------------------

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "tiff"),
    (re.compile(rb".{4}ftyp(?:avif|hei[cfx]|mif1)", re.DOTALL), "heif or avif"),
    (re.compile(rb"\s*<(?:\?xml|svg)"), "svg"),
)
_DECLARED = {"image/jpg": "jpeg", "image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}:")


def image_faults(url: str, target: Target) -> tuple[Fault, ...]:
    """FT612 to FT616 of one image."""
    scheme = _SCHEME.match(url)
    name = scheme.group().lower() if scheme else ""
    if name == "data:":
        return tuple(_data_faults(url, target))
    if name == "https:" and url[6:8] == "//" and not any(map(str.isspace, url)):
        return ()
    what = f'begins with "{name}"' if name and name != "https:" else "is no https or data URL"
    return (Fault("FT616", f"the address of the image {what}"),)


def _data_faults(url: str, target: Target) -> Iterator[Fault]:
    head, _, body = url.partition(",")
    kind, *options = head[5:].lower().split(";")
    if "base64" not in options:
        yield Fault("FT615", "the data URL does not say that it holds base64")
        return
    try:
        data = binascii.a2b_base64(body, strict_mode=True)
    except ValueError:
        data = b""
    if not data:
        yield Fault("FT615", "the base64 of the image is broken")
        return
    yield from _image_faults(data, _DECLARED.get(kind), target)


def _image_faults(data: bytes, declared: str | None, target: Target) -> Iterator[Fault]:
    if len(data) > target.image_bytes:
        most = f"{target.image_bytes:,}"
        yield Fault("FT612", f"the image has {len(data):,} bytes; at most {most} are taken")
    real = next((name for magic, name in _MAGIC if magic.match(data)), None)
    if real not in target.image_formats:
        known = ", ".join(target.image_formats)
        yield Fault("FT613", f"the image is {real or 'of no known format'}; taken are {known}")
    elif real != declared:
        said = f'"image/{declared}"' if declared else "another type"
        yield Fault("FT614", f'the URL declares {said}, but the image is "image/{real}"')


# --- rows -------------------------------------------------------------------------------------


def row(root: Node, line: str, target: Target) -> Iterator[Finding]:
    """FT6xx of a whole row; `line` is the text that it was read from."""
    addresses = images_of(root)
    known = set(map(id, addresses))
    for node in _nodes(root):
        if isinstance(node.value, str) and id(node) not in known:
            yield from _text(node, line)
    if len(addresses) > target.image_count:
        yield _too_many(addresses, target)
    for node in addresses if target.image_count else ():
        for fault in image_faults(str(node.value), target):
            yield Finding(fault.code, fault.message, node.start, node.pointer)


def images_of(root: Node) -> list[Node]:
    """The addresses of the images that users show in a row of messages; other rules refuse
    them in other messages and in other rows.
    """
    messages = root.keys.get("messages")
    found = []
    for message in messages.items if messages is not None else ():
        content = message.keys.get("content")
        if _value(message, "role") == "user" and content is not None:
            found += [part for part in content.items if _value(part, "type") == "image_url"]
    inside = [part.keys["image_url"].keys.get("url") for part in found if "image_url" in part.keys]
    return [url for url in inside if url is not None and isinstance(url.value, str)]


def _value(node: Node, key: str) -> object:
    child = node.keys.get(key)
    return None if child is None else child.value


def _too_many(addresses: list[Node], target: Target) -> Finding:
    """FT611, at the first image over the limit."""
    first = addresses[target.image_count]
    most = f"at most {target.image_count}" if target.image_count else "none"
    many = f"{len(addresses)} image{'s' if len(addresses) > 1 else ''}"
    message = f"{many} in one example; {target.name} takes {most}"
    return Finding("FT611", message, first.start, first.pointer)


def _text(node: Node, line: str) -> Iterator[Finding]:
    text = str(node.value)
    faults = text_faults(text)
    if faults and CONTROL.search(source_of(line, node)):  # FT207 has been said
        faults = tuple(fault for fault in faults if fault.code != "FT603")
    for fault in faults:
        at = offset_in(line, node, fault.at)
        yield Finding(fault.code, fault.message, at, node.pointer)
    if node.token == "arguments":  # noqa: S105
        told = {fault.code for fault in faults}
        for code, message in inner_faults(text).items():
            if code not in told:
                yield Finding(code, message, node.start, node.pointer)


def inner_faults(arguments: str) -> dict[str, str]:
    """Code and message of what the texts inside the arguments of a call hold, written escaped."""
    if "\\" not in arguments:
        return {}
    try:
        value = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return {}  # FT414
    faults = [fault for text in _texts(value) for fault in text_faults(text)]
    return {fault.code: fault.message for fault in reversed(faults)}


def _texts(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value


def _nodes(root: Node) -> Iterator[Node]:
    """Every value of a row, in the order of the line."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed([*node.keys.values(), *node.items])
