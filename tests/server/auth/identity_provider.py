"""An identity provider on a port of this machine: its discovery, its keys, and tokens that it signs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "outlast"
# Made once: each takes tens of milliseconds.
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
_ALGORITHMS: dict[type, Any] = {
    rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
    ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
}


def pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    kind = next(algorithm for base, algorithm in _ALGORITHMS.items() if isinstance(key, base))
    named = {} if kid is None else {"kid": kid}
    return {**kind.to_jwk(key.public_key(), as_dict=True), **named, **more}


def token(issuer: str, key: Any = RSA, *, algorithm: str = "RS256", kid: str | None = "one", **claims: Any) -> str:
    """A token that is right but for what is given; a claim that is None is left out."""
    usual = {"iss": issuer, "aud": AUDIENCE, "sub": "ann", "tenant": "acme", "exp": time.time() + 300}
    said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={} if kid is None else {"kid": kid})


class Provider:
    """Answers with its keys, and counts how often it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.keys: list[dict[str, Any]] = [jwk(RSA, "one")]
        self.discovery: dict[str, Any] = {}
        self.broken = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        if path.endswith("/openid-configuration"):
            document: Any = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovery}
        else:
            document = {"keys": self.keys}
        body = json.dumps(document).encode()
        status = b"500 Broken" if self.broken else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider
