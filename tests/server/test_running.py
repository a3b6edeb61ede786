"""How a server starts and ends, as a program."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import ConfigError, UnreachableError
from ftjobs.server.options import Options
from ftjobs.server.running import serving, tls, url
from tests.server.conftest import Serve, Served

PROGRAM = Path(__file__).with_name("program.py")


class Running:
    """`ftjobs serve` as a process, once it listens."""

    def __init__(self, folder: Path, *args: str, **options: object) -> None:
        self.folder = folder
        lines = "".join(f"{name} = {json.dumps(each)}\n" for name, each in options.items())
        (folder / "ftjobs.toml").write_text(f'home = "home"\n[serve]\nport = 0\n{lines}')
        self.process = self.start("serve", *args)
        assert self.process.stderr is not None
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"http\S+", self.said)
        assert found, self.said
        self.url = found[0]

    def start(self, *args: str) -> subprocess.Popen[str]:
        environ = {name: text for name, text in os.environ.items() if "FTJOBS" not in name}
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *args],
            cwd=self.folder,
            env=environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: str) -> tuple[int, str, str]:
        """Another command in the same home."""
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @contextmanager
    def asked(self, question: str) -> Iterator[Iterator[str]]:
        """The lines of a streamed answer that has begun."""
        body = {"model": "fake-base", "stream": True,
                "messages": [{"role": "user", "content": question}]}  # fmt: skip
        with httpx2.stream(
            "POST", f"{self.url}/v1/chat/completions", json=body, timeout=30, trust_env=False
        ) as response:
            lines = response.iter_lines()
            assert "word" in next(line for line in lines if "word" in line)
            yield lines

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)


Start = Callable[..., Running]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def start(*args: str, **options: object) -> Running:
        started.append(Running(tmp_path, *args, **options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_answers_under_way_end_well_and_so_does_the_program(running: Start, number: int) -> None:
    server = running()
    with server.asked("long") as lines:
        server.end(number)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert server.process.wait(20) == 0
    assert server.process.stderr is not None
    assert "Ending. Answers under way have 20 s." in server.process.stderr.read()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(server.url, trust_env=False)


def test_a_stream_that_takes_too_long_ends_with_an_error(running: Start) -> None:
    server = running(shutdown=0.5)
    with server.asked("endless") as lines:
        server.end()
        last = [line for line in lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert server.process.wait(20) == 0


def test_a_thread_that_hangs_does_not_keep_the_process(running: Start) -> None:
    server = running(shutdown=0.2)
    with server.asked("stuck") as lines:
        server.end()
        last = [line for line in lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    server.process.wait(20)


def test_a_home_has_one_server_and_a_second_one_says_who_has_it(running: Start) -> None:
    server = running()
    code, out, err = server.run("serve")
    assert (code, out) == (1, "")
    assert f"by process {server.process.pid} at {server.url}" in err
    assert "FTJOBS_HOME" in err
    server.process.kill()  # not even killing it leaves the home locked
    server.process.wait()
    again = running()
    assert httpx2.get(f"{again.url}/healthz", trust_env=False).status_code == 200


def test_keys_hold_at_once_beside_a_running_server(running: Start) -> None:
    server = running()

    def status(key: str = "") -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        found = httpx2.get(f"{server.url}/v1/models", headers=headers, trust_env=False)
        return found.status_code

    assert status() == 200
    code, out, _ = server.run("serve", "keys", "create", "--project", "a", "--scope", "read")
    assert code == 0
    assert (status(), status(out.strip())) == (401, 200)
    assert server.run("serve", "keys", "revoke", out.split("-")[1])[0] == 0
    assert status(out.strip()) == 401


def test_it_says_where_it_is_and_what_to_change(running: Start) -> None:
    server = running("--model", "mine=fake-base")
    names = httpx2.get(f"{server.url}/v1/models", trust_env=False).json()["data"]
    assert names[0]["id"] == "mine"
    said = server.said
    assert "Serving fake at http://127.0.0.1:" in said
    assert f'base_url="{server.url}/v1"' in said
    assert "only this machine can connect" in said
    assert f"{server.url}/\n" in said


# --- where it listens ----------------------------------------------------------------------------


def refused(serve: Serve, **options: object) -> str:
    with pytest.raises(ConfigError) as caught, serve(**options):
        pass
    return str(caught.value)


def test_others_reach_no_server_without_keys(serve: Serve) -> None:
    assert "no API key" in refused(serve, host="0.0.0.0")
    assert "no API key" in refused(serve, allowed_hosts=("gpu.example.com",))
    with serve(host="127.0.0.2") as served:
        served.desk.keys.create("a", "read")
    with serve(host="0.0.0.0") as served:
        assert served.http.get("/models").status_code == 401


@pytest.mark.parametrize(
    ("host", "names", "found"),
    [
        ("127.0.0.1", (), "http://127.0.0.1:"),
        ("127.0.0.1", ("gpu.example.com",), "http://127.0.0.1:"),
        ("0.0.0.0", (), "http://localhost:"),
        ("::", ("gpu.example.com", "b.example.com"), "http://gpu.example.com:"),
        ("::1", (), "http://[::1]:"),
    ],
)
def test_a_server_says_where_clients_find_it(host: str, names: tuple[str, ...], found: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        where = url(Options(host=host, allowed_hosts=names), sock)
    assert where.startswith(found)


def test_an_address_that_cannot_be_had_is_said(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use" in refused(serve, port=port)
    assert "no such address" in refused(serve, host="no.such.host.invalid")


def test_ipv6(serve: Serve) -> None:
    with serve(host="::1") as served:
        assert served.url.startswith("http://[::1]:")
        assert served.http.get("/models").status_code == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls(serve: Serve, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serve(tls_cert=cert, tls_key=key) as served:
        context = tls(served.desk.options)  # OpenSSL's own rules may refuse what we do not
        assert context
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert served.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(cert))
        found = httpx2.get(f"{served.url}/models", verify=trusted, trust_env=False)
        assert found.status_code == 200
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{served.url}/models", verify=old, trust_env=False)


def test_a_handshake_that_does_not_come_closes_the_connection(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    with serve(tls_cert=cert, tls_key=key, patience=0.3) as served:
        port = int(served.url.rsplit(":", 1)[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            assert sock.recv(1) == b""


def test_a_client_that_distrusts_the_certificate_says_so_at_once(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    with serve(tls_cert=cert, tls_key=key) as served:
        port = served.http.base_url.port
        place = ANY_URL.at(f"https://localhost:{port}/v1")
        with (
            closing(WireBackend("served", place, "none")) as backend,
            pytest.raises(UnreachableError, match="certificate verify failed") as caught,
        ):
            list(backend.models())
    assert caught.value.should_retry is False
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_certificate_that_cannot_be_used_is_said(
    serve: Serve, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    assert "cannot read" in refused(serve, tls_cert=tmp_path / "none.pem", tls_key=key)
    assert "no certificate" in refused(serve, tls_cert=key, tls_key=cert)
    assert f"its key are in {cert}" in refused(serve, tls_cert=cert)
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked],
        check=True, capture_output=True,
    )  # fmt: skip
    assert "passphrase" in refused(serve, tls_cert=cert, tls_key=locked)


def test_a_server_in_a_thread_ends_with_its_block(served: Served) -> None:
    with serving(served.desk) as url:
        assert httpx2.get(f"{url}/models", trust_env=False).status_code == 200
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/models", trust_env=False)
