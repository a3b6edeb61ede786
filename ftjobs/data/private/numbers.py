"""Numbers of people: telephone, payment card, bank account, national identity (FT712 to FT715).

Check digits, ranges that are given out and words around keep order numbers, times and hashes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

from ftjobs.data.private.spans import Kind, Span, apart, words

_PHONE = Kind("FT712", "PHONE", "a telephone number")
_CARD = Kind("FT713", "CARD", "the number of a payment card")
_SSN = Kind("FT715", "SSN", "a US social security number")
_MY_NUMBER = Kind("FT715", "MY_NUMBER", "a Japanese My Number")

_RUN = re.compile(r"[0-9+(][0-9 ().+-]{8,}+")  # what all of them stand in
_BEGIN = r"(?<![0-9+-])(?<![0-9]\.)"
_EDGE = r"(?![0-9-]|\.[0-9])"
_INVENTED = re.compile(r"1234567|2345678|0123456|9876543|(.)\1{6}|^(.)\2*$")
_REFERENCE = re.compile(
    r"(?:order|ticket|case|invoice|ref(?:erence)?|tracking|serial|model|part|item|sku|isbn|booking"
    r"|confirmation|claim|注文番号|伝票番号|受付番号|管理番号|会員番号|品番|型番)"
    r"(?: ?(?:number|no|id|code))?[ :.#=(：「-]{0,6}(?:is )?$"
)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _is_reference(text: str, at: int) -> bool:
    """Whether the words before `at` call what follows an order, a ticket or a part."""
    return _REFERENCE.search(text[max(0, at - 32) : at].lower()) is not None


def numbers(text: str) -> Iterator[Span]:
    """Numbers of telephones, payment cards and national identities."""
    for run in _RUN.finditer(text):
        for find in (_cards, _world_phones, _national_phones, _security_numbers, _my_numbers):
            for span in find(text, *run.span()):
                if apart(text, span.start, span.end):
                    yield span


_CARD_NUMBER = re.compile(
    rf"{_BEGIN}(?=([0-9]{{14,19}}+"
    r"|[0-9]{4}([ -])[0-9]{4}\2[0-9]{4}\2[0-9]{4}(?:\2[0-9]{3})?"
    rf"|[0-9]{{4}}([ -])[0-9]{{6}}\3[0-9]{{4,5}}){_EDGE})"
)
_ISSUER = re.compile(  # the ranges of ISO/IEC 7812, and how long their numbers are
    r"4[0-9]{15}|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}|(?:6011|64[4-9][0-9]|65[0-9]{2}|35(?:2[89]|[3-8][0-9]))[0-9]{12}"
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}|62[0-9]{14,17}"
)
_TEST_CARDS = words(  # of the payment services' manuals; others have few different digits
    """
    378282246310005 371449635398431 378734493671000 30569309025904 38520000023237 4012888888881881
    5105105105105100 2223003122003222 5200828282828210 6011000990139424 3566002020360505
    3056930009020004 6011981111111113 4917610000000000 5500000000000004 340000000000009
    """
)


def _cards(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _CARD_NUMBER.finditer(text, start, end):
        digits = _digits(match[1])
        test = digits in _TEST_CARDS or digits.startswith("40000") or len(set(digits)) <= 4
        if not test and _ISSUER.fullmatch(digits) and _luhn(digits):
            yield Span(*match.span(1), _CARD)


def _luhn(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


_WORLD_PHONE = re.compile(r"\+[1-9](?:[ .()-]{0,2}[0-9]){7,14}")
_CALLING_CODE = re.compile(  # ITU-T E.164
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-6][0-9]|29[0-9]|3[578][0-9]|42[0-9]|5[09][0-9]|6[7-9][0-9]|85[0-9]|88[0-9]|9[679][0-9]"
)
_LENGTHS = {  # digits after the calling code, where they are known well
    "1": (10, 10),
    "7": (10, 10),
    "33": (9, 9),
    "34": (9, 9),
    "44": (9, 10),
    "49": (8, 11),
    "61": (9, 9),
    "81": (9, 10),
    "82": (8, 10),
    "86": (10, 11),
    "91": (10, 10),
}
_FIRMS = re.compile(  # toll-free and shared-cost numbers; and those kept for films and manuals
    r"1(?:8(?:00|33|44|55|66|77|88)|555|[0-9]{3}555)|44(?:3|80|84|7700900|1632960|207946)"
    r"|81(?:120|800|570|990)|61491570"
)


def _world_phones(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _WORLD_PHONE.finditer(text, start, end):
        tail = _phone_end(text, match)
        if tail is not None and text[match.start() - 1 : match.start()] != "+":
            yield Span(match.start(), tail, _PHONE)


def _phone_end(text: str, match: re.Match[str]) -> int | None:
    """Where the longest real number ends that begins like `match`; None if there is none."""
    groups = list(re.finditer("[0-9]+", match[0].replace("(0)", "   ")))
    sizes = accumulate(len(group[0]) for group in groups)
    digits = "".join(group[0] for group in groups)
    found = None
    for group, size in zip(groups, sizes, strict=True):
        end = match.start() + group.end()
        if _is_phone(digits[:size]) and not text[end : end + 1].isdigit():
            found = end
    return found


def _is_phone(digits: str) -> bool:
    """Whether these are the digits of a number in use, from the calling code on."""
    code = _CALLING_CODE.match(digits)
    if code is None or _FIRMS.match(digits) or _INVENTED.search(digits):
        return False
    least, most = _LENGTHS.get(code[0], (7, 12))
    if not least <= len(digits) - code.end() <= most:
        return False
    return code[0] != "1" or _AREA.fullmatch(digits[1:]) is not None


_AREA = re.compile(r"[2-9](?!11)[0-9]{2}[2-9](?!11)[0-9]{6}")  # North America's numbering plan
_NATIONAL_PHONE = re.compile(
    rf"{_BEGIN}(?:"
    r"0[5789]0([ -]?)[0-9]{4}\1[0-9]{4}"
    r"|0[346]-[0-9]{4}-[0-9]{4}|0[1-9]{2}-[0-9]{3}-[0-9]{4}|0[1-9]{2}[0-9]-[0-9]{2}-[0-9]{4}"
    r"|0[1-9]{2}[0-9]{2}-[0-9]-[0-9]{4}"
    r"|\(?0[1-9][0-9]?[0-9]?(?:\)|\()[0-9]{2,4}[)-][0-9]{4}"
    r"|(?P<america>\([2-9][0-9]{2}\) ?[2-9][0-9]{2}-[0-9]{4}|[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4})"
    rf"){_EDGE}"
)


def _national_phones(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _NATIONAL_PHONE.finditer(text, start, end):
        digits = _digits(match[0])
        whole = f"1{digits}" if match["america"] else f"81{digits[1:]}"
        if _is_phone(whole) and not _is_reference(text, match.start()):
            yield Span(*match.span(), _PHONE)


_SSN_NUMBER = re.compile(  # never given out: 000, 666 and 900 on, group 00, serial 0000
    rf"{_BEGIN}(?!000|666|9)[0-9]{{3}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}{_EDGE}"
)
_FAMOUS = frozenset({"078051120", "219099999", "457555462"})  # printed in advertisements
_MY_NUMBERS = re.compile(rf"{_BEGIN}[0-9]{{4}}([ -]?)[0-9]{{4}}\1[0-9]{{4}}{_EDGE}")
_MY_NUMBER_NAME = re.compile(r"マイナンバー|個人番号|[Mm]y ?[Nn]umber")


def _security_numbers(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _SSN_NUMBER.finditer(text, start, end):
        digits = _digits(match[0])
        invented = digits in _FAMOUS or _INVENTED.search(digits)
        if not invented and not _is_reference(text, match.start()):
            yield Span(*match.span(), _SSN)


def _my_numbers(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _MY_NUMBERS.finditer(text, start, end):
        before = text[max(0, match.start() - 40) : match.start()]
        if _MY_NUMBER_NAME.search(before) and _checks_as_my_number(_digits(match[0])):
            yield Span(*match.span(), _MY_NUMBER)


def _checks_as_my_number(digits: str) -> bool:
    """Whether the check digit is right (Ordinance 85 of 2014 of the ministry MIC, article 5)."""
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(int(d) * w for d, w in zip(digits, weights, strict=False)) % 11
    return int(digits[-1]) == (0 if rest <= 1 else 11 - rest) and len(set(digits)) > 3


# --- FT714: bank accounts ------------------------------------------------------------------------

_ACCOUNT = Kind("FT714", "IBAN", "an IBAN")
_IBAN = re.compile(
    r"([A-Z]{2})[0-9]{2}(?:[A-Z0-9]{11,30}+|(?: [A-Z0-9]{4}){2,7}+(?: [A-Z0-9]{1,3})?)"
)
_IBAN_SHAPE = re.compile(r"[0-9]{10}|[0-9] [0-9]{4}")  # all have it, and `suspicious` knows it
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in words(
        """
        AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28
        EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26
        IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30
        NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23
        TN24 TR26 UA29 VA22 VG24 XK20
        """
    )
}


def accounts(text: str) -> Iterator[Span]:
    """International bank account numbers."""
    for match in _IBAN.finditer(text):
        size = _IBAN_LENGTHS.get(match[1], 0)
        written = size + (size - 1) // 4 if " " in match[0] else size
        start, end = match.start(), match.start() + written
        iban = match[0][:written]
        if apart(text, start, end) and _IBAN_SHAPE.search(iban) and _checks(iban, size):
            yield Span(start, end, _ACCOUNT)


def _checks(iban: str, size: int) -> bool:
    """Whether length and check digits are right (ISO 13616, ISO 7064 MOD 97-10)."""
    iban = iban.replace(" ", "")
    turned = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4])
    return len(iban) == size and int(turned) % 97 == 1 and len(set(iban[4:])) > 3
