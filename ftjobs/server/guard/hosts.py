"""What a server may be called, and which pages may write to it.

A page of another site can let its visitor's browser send requests here.  Under its own name, once
that name points to this machine (DNS rebinding): the Host header gives it away.  Under ours: the
Origin header does.  (Fetch Standard, section 3.2; Fetch Metadata Request Headers.)
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ftjobs.server.options import Options
from ftjobs.server.refusals import Refusal

__all__ = ["Hosts", "address_of", "name_of"]

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", re.IGNORECASE)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": "80", "https": "443"}


class Hosts:
    """The names of one server."""

    def __init__(self, options: Options) -> None:
        self._allowed = frozenset(name_of(each) or each.lower() for each in options.allowed_hosts)
        self._names = _LOOPBACK | self._allowed | {options.host.lower()}
        address = address_of(options.host)
        # It listens everywhere: whoever dials an address was not led here by a name.
        self._any_address = address is not None and address.is_unspecified

    def require_host(self, host: str) -> None:
        """Refusal 421 unless this server is called so."""
        name = name_of(host)
        if name in self._names or (self._any_address and address_of(name) is not None):
            return
        raise Refusal(
            421,
            "this server does not go by the name in the Host header: allowed_hosts in [serve] "
            "says by which it does",
            code="unknown_host",
        )

    def require_own_page(self, method: str, host: str, origin: str | None, site: str) -> None:
        """Refusal 403 where a page of another site writes.

        Args:
            method: of the request.
            host: the Host header.
            origin: the Origin header; None where there is none.
            site: the Sec-Fetch-Site header.
        """
        if method in _SAFE:
            return
        ours = (
            site in ("", "same-origin", "none") if origin is None else self._is_ours(origin, host)
        )
        if not ours:
            raise Refusal(
                403, "pages of other sites may not write to this server", code="foreign_origin"
            )

    def _is_ours(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if name_of(parts.netloc) in self._allowed:
            return True
        # The scheme does not count: a proxy may have ended TLS.
        port = _PORTS.get(parts.scheme, "")
        return bool(parts.netloc) and _placed(parts.netloc, port) == _placed(host, port)


def name_of(host: str) -> str:
    """The name or address of a Host header in small letters; "" where it is none."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower().removesuffix(".") if found else ""


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a name is."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _placed(host: str, port: str) -> tuple[str, str]:
    found = _HOST.fullmatch(host)
    return name_of(host), (found[3] if found else None) or port
