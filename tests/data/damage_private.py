"""Kinds of damage by rows that say what they should not, or say it twice.

The secrets and people are drawn at random here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Iterator
from random import Random

from tests.data.mutations import Expected, Found, Result, on_file, on_row, say
from tests.data.rows import METHODS, Row, asked, joined, row, spelled

# --- secrets and personal data ----------------------------------------------------------------


def _drawn(rng: Random, length: int) -> str:
    """Letters and digits that look drawn at random: a third are digits."""
    known = string.ascii_letters + 3 * string.digits
    return "".join(rng.choices(known, k=length))


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def private_key(rng: Random) -> str:
    kind = rng.choice(("", "RSA ", "EC ", "OPENSSH "))
    body = "\n".join(base64.b64encode(rng.randbytes(48)).decode() for _ in range(6))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


def service_key(rng: Random) -> str:
    amazon = "".join(rng.choices(string.ascii_uppercase + "234567", k=16))
    return rng.choice((f"ghp_{_drawn(rng, 36)}", f"AKIA{amazon}"))


def signed_token(rng: Random) -> str:
    head = _url_safe(b'{"alg":"HS256","typ":"JWT"}')
    claims = _url_safe(json.dumps({"sub": str(rng.randrange(10**9))}).encode())
    return f"{head}.{claims}.{_url_safe(rng.randbytes(32))}"


def password_in_a_url(rng: Random) -> str:
    scheme = rng.choice(("postgres", "https", "redis", "mongodb"))
    return f"{scheme}://shop:{_drawn(rng, 14)}@db.lampworks.co.jp/orders"


def password_in_an_assignment(rng: Random) -> str:
    name = rng.choice(("password", "API_KEY", "secret_key"))
    return f'{name} = "{_drawn(rng, 24)}"'


def address(rng: Random) -> str:
    first, last = ("".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(2))
    return f"{first}.{last}@lampworks.co.jp"


def telephone(rng: Random) -> str:
    first, second = (rng.randint(1001, 9998) for _ in range(2))
    return rng.choice((f"090-{first}-{second}", f"+81 90 {first} {second}"))


def card(rng: Random) -> str:
    digits = [4, 5, 3, 9, *(rng.randrange(10) for _ in range(11))]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[::2]]
    check = -(sum(doubled) + sum(digits[1::2])) % 10
    whole = "".join(map(str, [*digits, check]))
    return " ".join(whole[at : at + 4] for at in range(0, 16, 4))


def iban(rng: Random) -> str:
    account = "".join(rng.choices(string.digits, k=18))
    check = 98 - int(f"{account}131400") % 97  # D and E are 13 and 14 (ISO 13616)
    return f"DE{check:02}{account}"


def identity(rng: Random) -> str:
    area, group, serial = rng.randint(100, 665), rng.randint(11, 99), rng.randint(1001, 9998)
    return f"My SSN is {area}-{group}-{serial}"


PRIVATE = {
    private_key: "FT701",
    service_key: "FT702",
    signed_token: "FT703",
    password_in_a_url: "FT704",
    password_in_an_assignment: "FT705",
    address: "FT711",
    telephone: "FT712",
    card: "FT713",
    iban: "FT714",
    identity: "FT715",
}
"""What makes a private datum → the code that it is found by."""


def _leaking(make: Callable[[Random], str], code: str) -> Callable[[Random, Row], Iterator[Found]]:
    def damage(rng: Random, damaged: Row) -> Iterator[Found]:
        yield code, say(rng, damaged, f"Note this: {make(rng)} please.")

    return damage


for _make, _code in PRIVATE.items():
    on_row(*METHODS, name=_make.__name__)(_leaking(_make, _code))

# --- rows against rows ------------------------------------------------------------------------


@on_file()
def row_again(rng: Random, lines: list[bytes]) -> Result:
    first = rng.randrange(len(lines) - 1)
    again = rng.randrange(first + 1, len(lines))
    lines[again] = rng.choice((lines[first], spelled(rng, json.loads(lines[first]))))
    return joined(rng, lines), [Expected("FT801", again + 1, "")]


@on_file("supervised")
def prompt_with_another_answer(rng: Random, lines: list[bytes]) -> Result:
    first = rng.randrange(len(lines) - 1)
    again = rng.randrange(first + 1, len(lines))
    told = row(rng, "supervised", -1, form=rng.choice(("plain", "opened", "turns", "offered")))
    lines[first] = spelled(rng, told)
    told["messages"][-1]["content"] = f"No: {asked(rng, -2)}"
    lines[again] = spelled(rng, told)
    return joined(rng, lines), [Expected("FT802", again + 1, "")]


@on_file("completion")
def prompt_with_another_completion(rng: Random, lines: list[bytes]) -> Result:
    first = rng.randrange(len(lines) - 1)
    again = rng.randrange(first + 1, len(lines))
    told = json.loads(lines[first])
    told["completion"] += " – or not."
    lines[again] = spelled(rng, told)
    return joined(rng, lines), [Expected("FT802", again + 1, "")]
