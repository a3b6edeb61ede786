"""Secrets: private keys, the keys of services, signed tokens, passwords (FT701 to FT705)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from ftjobs.data.private.people import is_documentation
from ftjobs.data.private.spans import Kind, Span, apart, drawn, entropy, made_up, words

# --- FT701: private keys -------------------------------------------------------------------------

_PRIVATE_KEY = Kind("FT701", "PRIVATE_KEY", "a private key")
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r'((?:[^-"]|-(?!-)){64,16384}+)(?:-----END [A-Z0-9 ]{1,60}-----)?'
)
_KEY_LINE = re.compile(r"[A-Za-z0-9+/]{40}")


def private_keys(text: str) -> Iterator[Span]:
    """Blocks of RFC 7468 and OpenPGP that hold more than dots."""
    if "PRIVATE KEY" in text:
        for match in _PEM.finditer(text):
            line = _KEY_LINE.search(match[1])
            if line and not made_up(line[0]):
                yield Span(*match.span(), _PRIVATE_KEY)


# --- FT702: the keys of services -----------------------------------------------------------------

_ALNUM = "A-Za-z0-9"
_WIDE = "A-Za-z0-9_-"
_HEX = "0-9a-f"


class Service(NamedTuple):
    """How a service's keys look: a prefix, then `least` to `most` characters of an alphabet."""

    name: str
    prefixes: tuple[str, ...]
    alphabet: str
    least: int
    most: int

    @property
    def pattern(self) -> re.Pattern[str]:
        """The prefix and the rest, as groups 1 and 2."""
        prefix = "|".join(map(re.escape, self.prefixes))
        return re.compile(rf"({prefix})([{self.alphabet}]{{{self.least},{self.most}}}+)")

    def gives_out(self, rest: str) -> bool:
        """Whether what follows the prefix is a key, neither words nor a stand-in."""
        if made_up(rest):
            return False
        return drawn(rest) if "a-z" in self.alphabet else entropy(rest) >= 2.8


SERVICES = (
    Service("an Anthropic key", ("sk-ant-",), _WIDE, 60, 200),
    Service("an OpenAI key", ("sk-proj-", "sk-svcacct-", "sk-admin-"), _WIDE, 40, 250),
    Service("an OpenRouter key", ("sk-or-v1-",), _HEX, 64, 64),
    Service("an API key", ("sk-",), _ALNUM, 32, 64),
    Service("an AWS access key", ("AKIA", "ASIA"), "A-Z0-9", 16, 16),
    Service("a GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _ALNUM, 36, 255),
    Service("a GitHub token", ("github_pat_",), "A-Za-z0-9_", 60, 255),
    Service("a GitLab token", ("glpat-", "glptt-", "gldt-", "glrt-"), _WIDE, 20, 64),
    Service("a Slack token", ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"), _WIDE, 24, 255),
    Service("a Slack token", ("xapp-",), _WIDE, 24, 255),
    Service("a Slack webhook", ("hooks.slack.com/services/",), "A-Za-z0-9/", 40, 90),
    Service("a Google key", ("AIza",), _WIDE, 35, 35),
    Service("a Google client secret", ("GOCSPX-",), _WIDE, 28, 28),
    Service("a Stripe key", ("sk_live_", "rk_live_"), _ALNUM, 16, 255),
    Service("a Stripe signing secret", ("whsec_",), _ALNUM, 24, 255),
    Service("a Hugging Face token", ("hf_",), _ALNUM, 30, 40),
    Service("an npm token", ("npm_",), _ALNUM, 36, 36),
    Service("a PyPI token", ("pypi-AgE",), _WIDE, 50, 255),
    Service("a Twilio key", ("SK",), _HEX, 32, 32),
    Service("a SendGrid key", ("SG.",), "A-Za-z0-9_.-", 66, 66),
    Service("a Groq key", ("gsk_",), _ALNUM, 48, 64),
    Service("an xAI key", ("xai-",), _ALNUM, 60, 100),
    Service("a Replicate token", ("r8_",), _ALNUM, 37, 37),
    Service("a Perplexity key", ("pplx-",), _ALNUM, 40, 64),
    Service("a Databricks token", ("dapi",), _HEX, 32, 32),
    Service("a DigitalOcean token", ("dop_v1_", "doo_v1_", "dor_v1_"), _HEX, 64, 64),
    Service("a Shopify token", ("shpat_", "shpss_", "shpca_", "shppa_"), "0-9a-fA-F", 32, 32),
)
"""Known prefixes.  None is random by itself, so a message may show it."""

_KEYS = tuple((one, Kind("FT702", "API_KEY", one.name), one.pattern) for one in SERVICES)


def keys(text: str) -> Iterator[Span]:
    """Keys that a public prefix gives away."""
    for service, kind, pattern in _KEYS:
        if any(prefix in text for prefix in service.prefixes):
            for match in pattern.finditer(text):
                if apart(text, *match.span()) and service.gives_out(match[2]):
                    yield Span(*match.span(), kind, match[1])


class _Escort(NamedTuple):
    """A secret without a prefix of its own that stands next to a public id."""

    kind: Kind
    anchors: tuple[str, ...]
    public: re.Pattern[str]
    secret: re.Pattern[str]


_ESCORTS = (
    _Escort(
        Kind("FT702", "API_KEY", "an AWS secret key"),
        ("AKIA", "ASIA"),
        re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
        re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"),
    ),
    _Escort(
        Kind("FT702", "API_KEY", "a Twilio auth token"),
        ("AC",),
        re.compile(r"AC[0-9a-f]{32}"),
        re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{32}(?![A-Za-z0-9])"),
    ),
)
_NEAR = 160  # characters between the two, at most


def escorted_keys(text: str) -> Iterator[Span]:
    """Keys that the public id next to them gives away."""
    for kind, anchors, public, secret in _ESCORTS:
        if any(anchor in text for anchor in anchors):
            for match in public.finditer(text):
                if apart(text, *match.span()) and not made_up(match[0]):
                    for found in secret.finditer(
                        text, max(0, match.start() - _NEAR), match.end() + _NEAR
                    ):
                        if drawn(found[0]):
                            yield Span(*found.span(), kind)


# --- FT703: signed tokens ------------------------------------------------------------------------

_JWT = Kind("FT703", "TOKEN", "a JSON Web Token")
_PARTS = re.compile(
    r"(eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{10,2048}+)\.(eyJ[A-Za-z0-9_-]{10,8192}+)\.([A-Za-z0-9_-]{20,1024}+)"
)
_JOHN_DOE = "eyJzdWIiOiIxMjM0NTY3ODkw"  # {"sub":"1234567890: the token that all manuals print
_STANDARD = str.maketrans("-_", "+/")


def signed_tokens(text: str) -> Iterator[Span]:
    """JSON Web Tokens (RFC 7519) in their compact form."""
    if "eyJ" in text:
        for match in _PARTS.finditer(text):
            invented = match[2].startswith(_JOHN_DOE) or made_up(match[3])
            if not invented and apart(text, *match.span()) and _is_header(match[1]):
                yield Span(*match.span(), _JWT, "eyJ")


def _is_header(part: str) -> bool:
    """Whether the first part of a token names an algorithm, as RFC 7515 wants it."""
    try:
        return b'"alg"' in binascii.a2b_base64(part.translate(_STANDARD) + "===")
    except binascii.Error:
        return False


# --- FT704: passwords in URLs --------------------------------------------------------------------

_URL_PASSWORD = Kind("FT704", "PASSWORD", "a password in a URL")
_LOGIN = re.compile(
    r"://[^\s/@:\"'<>]{0,64}+:([^\s/@\"'<>]{1,128}+)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*+)(:[0-9])?"
)
_USUAL = words("password passwd passw0rd pass pwd pw secret admin root guest user postgres token")


def url_passwords(text: str) -> Iterator[Span]:
    """Passwords of basic authentication and of database URLs (RFC 3986, section 3.2.1)."""
    if "@" in text:
        for match in _LOGIN.finditer(text):
            if _logs_in(*match.groups()):
                yield Span(*match.span(1), _URL_PASSWORD)


def _logs_in(password: str, host: str, port: str | None) -> bool:
    """Whether this looks real: the passwords and hosts of manuals do not."""
    if password.lower() in _USUAL or made_up(password) or password.startswith(("$", "%")):
        return False
    if "." in host:
        return not is_documentation(host) and not host.startswith("127.")
    return port is not None and drawn(password)


# --- FT705: values of variables called password or key -------------------------------------------

_ASSIGNED = Kind("FT705", "PASSWORD", "what looks like a password or key")
NAMES = (
    *("password", "Password", "PASSWORD", "passwd", "PASSWD", "secret", "Secret", "SECRET"),
    *("api_key", "apiKey", "apikey", "api-key", "API_KEY", "ApiKey", "API key", "Api-Key"),
    *("access_key", "accessKey", "ACCESS_KEY", "AccountKey", "private_key", "auth_token"),
    *("access_token", "accessToken", "ACCESS_TOKEN", "AUTH_TOKEN", "bot_token", "BOT_TOKEN"),
    *("Bearer", "bearer"),
)
"""What the names of secrets hold."""

_ASSIGNMENT = re.compile(
    rf"(?:{'|'.join(NAMES)})(?:[A-Za-z0-9_-]{{0,24}}+[\"'`\]]{{0,2}}+[ \t]{{0,3}}+"
    r"(?::=|=>|==|:|=)[ \t]{0,3}+|[ ]{1,2})(?:Bearer[ ])?"
    r"(?:[\"'`]([!#-&(-_a-~]{12,200}+)[\"'`]|([A-Za-z0-9+/=_.~!@#$%^*?-]{12,200}+)(?![(\[]))"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def assigned_secrets(text: str) -> Iterator[Span]:
    """Random values right after a name such as password or api_key."""
    if any(name in text for name in NAMES):
        for match in _ASSIGNMENT.finditer(text):
            start = match.start(match.lastindex or 0)
            value = match[match.lastindex or 0].rstrip(".!?")
            if drawn(value) and not _UUID.fullmatch(value):
                yield Span(start, start + len(value), _ASSIGNED)
