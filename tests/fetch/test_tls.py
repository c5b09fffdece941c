"""Encrypted fetches: who answers has to prove that it is the host of the URL, whatever its address."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fetch.conftest import KEY, LOCAL, Mounted
from tests.fetch.web import redirect, serving

from interlock import FetchFailed
from interlock.functions.fetch.wire import Wire


def certified(host: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for this host alone, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(pem + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_the_certificate_has_to_be_of_the_host(mounted: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = certified("localhost", tmp_path)
    async with serving(server) as web, serving() as plain, mounted(*LOCAL) as courier:
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await courier.action("get", url=web.url(host="localhost", scheme="https"))
        assert web.heard == []
        monkeypatch.setattr(Wire, "_trust", lambda self: client)
        told = await courier.action("with_key", url=web.url(host="localhost", scheme="https"))
        assert told["headers"]["host"] == f"localhost:{web.port}" and KEY in told["headers"]["authorization"]
        with pytest.raises(FetchFailed, match="ertificate"):
            await courier.action("get", url=web.url(host="127.0.0.1", scheme="https"))
        web.at["/down"] = redirect(plain.url(host="localhost"))
        assert "authorization" not in (await courier.action("with_key", url=web.url("/down", "localhost", "https")))["headers"]
