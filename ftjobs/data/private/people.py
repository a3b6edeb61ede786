"""E-mail addresses of people (FT711), not of roles, systems or manuals."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftjobs.data.private.spans import Kind, Span, words

_EMAIL = Kind("FT711", "EMAIL", "an e-mail address")
_DOMAIN = re.compile(r"@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++)")
_LOCAL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"
_LONGEST_LOCAL = 64  # RFC 5321, section 4.5.3.1.1
_TOP_LEVEL = words(  # of the common ones: code is full of x@self.weight and icon@2x.png
    """
    com org net edu gov mil int info biz name pro mobi jobs aero asia coop museum travel post app
    dev cloud online shop store site tech xyz blog agency digital email group live life media
    network news social solutions studio systems team today tokyo osaka nagoya kyoto world wiki
    academy bank berlin london paris nyc capital care center city club company computer consulting
    design engineering expert finance foundation global health hospital house institute law legal
    ltd llc inc gmbh management marketing medical ngo partners photography school services
    software space support technology university ventures work works zone
    """
)
_FILES = words("js ts cs rb go db kt hs vb gz xz cp")  # the two letters of files, not of countries
_DOCUMENTATION = re.compile(  # RFC 2606, and what manuals use besides
    r"(?:^|\.)(?:(?:example|sample|test|foo|bar|foobar|acme|contoso|fabrikam|website|email"
    r"|(?:(?:my|your)-?)?(?:company|domain|site|app|org|firm|server|host|store|shop|business))"
    r"\.[a-z]{2,5}(?:\.[a-z]{2})?|users\.noreply\.github\.com"
    r"|example|test|invalid|localhost|local|internal)$"
)
_NOBODY = re.compile(  # roles, systems and stand-ins
    r"(?:no-?reply|do-?not-?reply|support|info|help|helpdesk|contact|sales|admin|administrator"
    r"|hello|hi|billing|accounts?|services?|customer-?(?:service|support|care)|customers?"
    r"|press|media|jobs|careers|hr|abuse|postmaster|webmaster|hostmaster|security|privacy|legal"
    r"|feedback|orders?|returns?|refunds?|team|office|mail|email|[ei]nquir(?:y|ies)"
    r"|marketing|newsletter|notifications?|alerts?|bot|root|git|ubuntu|ec2-user|centos|debian|pi"
    r"|deploy|me|you|someone|somebody|(?:your|my)[._-]?(?:e?mail|user|username|id|address)"
    r"|(?:your|my|first|full|last)?[._-]?name|first[._-]?(?:name[._-]?)?last(?:[._-]?name)?"
    r"|j(?:ohn|ane)?[._-]?(?:doe|smith)"
    r"|(?:user|username|test|tester|example|sample|demo|foo|bar|abc|xxx+)[._-]?\d*)(?:\+\w*)?"
)
_LOGIN = re.compile(r"://[^\s/@?#=&\"'<>]*$")  # the user of a URL, as in sftp://user@host
_CODE = re.compile(r"[(\[_]|:[\w/~.]")  # a call, an index, the path of user@host:path


def is_documentation(host: str) -> bool:
    """Whether a host is kept for manuals and tests, or used as if it were."""
    return _DOCUMENTATION.search(host.lower()) is not None


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses that may belong to a person."""
    if "@" in text:
        for match in _DOMAIN.finditer(text):
            at = match.start()
            start, domain = _local_start(text, at), _registered(match[1])
            end = at + 1 + len(domain)
            if start < at and domain and not is_documentation(domain):
                nobody = _NOBODY.fullmatch(text[start:at].lower())
                login = _LOGIN.search(text[max(0, start - _LONGEST_LOCAL) : start])
                if not nobody and not login and not _CODE.match(text, end):
                    yield Span(start, end, _EMAIL)


def _local_start(text: str, at: int) -> int:
    """Where the local part before the @ at `at` begins; `at` if there is none."""
    before = text[max(0, at - _LONGEST_LOCAL - 1) : at]
    local = before[len(before.rstrip(_LOCAL)) :]
    if len(local) > _LONGEST_LOCAL or local.endswith("."):
        return at
    return at - len(local.lstrip("._%+-"))


def _registered(domain: str) -> str:
    """What of `domain` can be one: "" if its end is no top-level domain."""
    domain = domain.rstrip("-")
    head, _, last = domain.rpartition(".")
    if last.istitle() and last.lower() not in _TOP_LEVEL:
        domain, last = head, head.rpartition(".")[2]  # "…@firm.de.Then": the next sentence
    last = last.lower()
    country = len(last) == 2 and last.isalpha() and last not in _FILES
    return domain if "." in domain and (country or last in _TOP_LEVEL) else ""
