"""The server's own description, by which tests reach every route, those to come among them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.server.conftest import Served


@dataclass(frozen=True)
class Operation:
    """A method of a path; `ids` are the names in its template, in their order."""

    method: str
    path: str
    takes: frozenset[str]
    is_list: bool

    @property
    def ids(self) -> list[str]:
        return re.findall(r"{(\w+)", self.path)

    def at(self, *ids: str) -> str:
        """The path with these ids."""
        found = iter(ids)
        return re.sub(r"{[^}]*}", lambda _: next(found), self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations(served: Served) -> list[Operation]:
    """All of the wire, as /openapi.json has it."""
    root = served.url.removesuffix("/v1")
    with served.as_("describer", "admin") as http:
        spec = http.get(f"{root}/openapi.json").json()
    found = [_operation(method, path, each) for path, item in spec["paths"].items()
             for method, each in item.items()]  # fmt: skip
    assert len(found) > 20
    return found


def _operation(method: str, path: str, operation: dict[str, Any]) -> Operation:
    body = operation.get("requestBody", {}).get("content", {})
    return Operation(
        method=method.upper(),
        path=path,
        takes=frozenset(body),
        is_list=any(each["name"] == "after" for each in operation.get("parameters", ())),
    )


def ask(
    http: httpx2.Client, root: str, operation: Operation, *ids: str, **more: Any
) -> httpx2.Response:
    """Ask an operation, with a body of the kind that it takes unless there is one."""
    if operation.takes and not more.keys() & {"json", "content", "files"}:
        if "multipart/form-data" in operation.takes:
            more["files"] = {"data" if operation.ids else "file": ("a.jsonl", b"{}")}
            more["data"] = {} if operation.ids else {"purpose": "user_data"}
        else:
            more["json"] = {}
    return http.request(operation.method, root + operation.at(*ids), **more)
