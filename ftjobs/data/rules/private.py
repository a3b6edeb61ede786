"""Secrets and personal data: FT7xx.

All are warnings, because a job runs with them.  The examples are put together here, so that no
scanner takes this file itself for a leak.
"""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule


def _row(*parts: str) -> str:
    asked = '{"messages": [{"role": "user", "content": "Hello"}, '
    return asked + '{"role": "assistant", "content": "' + "".join(parts) + '"}]}'


_LEARNT = "A model repeats rare strings of its training data to anybody who asks the right way."
_SECRET = f"{_LEARNT} A key that was written into a dataset is no secret any more."
_PERSONAL = f"{_LEARNT} The law asks for a reason to process what identifies a person."
_REVOKE = "Revoke it and put a placeholder such as {} in its place; --unsafe-fixes does the latter."
_REPLACE = "Replace it with a placeholder such as {}, as --unsafe-fixes does, or remove the row."
_KEY_LINE = "MIIEpAIBAAKCAQEAyr9K2mPZJ8QbX0fLsWlC4n6Yd7hT1uE3vGqJzRk5aOoNcHxB"
_CLAIMS = ".eyJzdWIiOiJ1LTcxOTM0In0."

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT701",
        "private key",
        "warning",
        _SECRET,
        _REVOKE.format("[PRIVATE_KEY]"),
        "unsafe",
        _row("-----BEGIN ", rf"PRIVATE KEY-----\n{_KEY_LINE}\n", "-----END PRIVATE KEY-----"),
    ),
    Rule(
        "FT702",
        "key of a service",
        "warning",
        _SECRET,
        _REVOKE.format("[API_KEY]"),
        "unsafe",
        _row("Use gh", "p_8Kq2mVx7RtLw4Zn9PbYc3HdJf6SgAe1UoT5i"),
    ),
    Rule(
        "FT703",
        "signed token",
        "warning",
        _SECRET,
        _REVOKE.format("[TOKEN]"),
        "unsafe",
        _row("eyJ", "hbGciOiJIUzI1NiJ9", _CLAIMS, "q7Zt2LxV9mRk4Wc8NpYb3HdJf6SgAe1UoT5iKsXvQw0"),
    ),
    Rule(
        "FT704",
        "password in a URL",
        "warning",
        _SECRET,
        _REVOKE.format("[PASSWORD]"),
        "unsafe",
        _row("postgres://shop:", "tR7-quail-92", "@db.lampworks.co.jp/orders"),
    ),
    Rule(
        "FT705",
        "password or key in an assignment",
        "warning",
        f"{_SECRET} Only values that look drawn at random are reported.",
        _REVOKE.format("[PASSWORD]"),
        "unsafe",
        _row(r"password = \"", "kT9xQ2mB7vLp4Rz8", r"\""),
    ),
    Rule(
        "FT711",
        "e-mail address",
        "warning",
        f"{_PERSONAL} Addresses of roles, such as support@, and of manuals are not reported.",
        _REPLACE.format("[EMAIL]"),
        "unsafe",
        _row("Write to hana.mori", "@lampworks.co.jp"),
    ),
    Rule(
        "FT712",
        "telephone number",
        "warning",
        f"{_PERSONAL} Toll-free numbers are not reported.",
        _REPLACE.format("[PHONE]"),
        "unsafe",
        _row("Call 090-", "4821-7735"),
    ),
    Rule(
        "FT713",
        "number of a payment card",
        "warning",
        f"{_PERSONAL} Issuer and check digit are right; known test cards are not reported.",
        _REPLACE.format("[CARD]"),
        "unsafe",
        _row("4539 ", "5787 6362 1486"),
    ),
    Rule(
        "FT714",
        "IBAN",
        "warning",
        f"{_PERSONAL} Country, length and check digits are right.",
        _REPLACE.format("[IBAN]"),
        "unsafe",
        _row("DE89 ", "3704 0044 0532 0130 00"),
    ),
    Rule(
        "FT715",
        "national identity number",
        "warning",
        f"{_PERSONAL} Reported are US social security numbers, and Japanese My Numbers that are "
        "called so.",
        _REPLACE.format("[SSN] or [MY_NUMBER]"),
        "unsafe",
        _row("My SSN is 536-", "22-8145"),
    ),
)
