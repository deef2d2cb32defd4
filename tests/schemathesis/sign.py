"""Signs each request that schemathesis makes as a user of a governed installation: RFC 9421, as docs/authentication.md has it.

BURSAR_SIGNING_SEED: the user's Ed25519 key, 64 hex digits. Without it nothing is signed.
"""

import base64
import hashlib
import os
import secrets
import time
from urllib.parse import urlsplit

import requests
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Signature(requests.auth.AuthBase):
    def __init__(self, seed: bytes):
        self.key = Ed25519PrivateKey.from_private_bytes(seed)
        self.keyid = self.key.public_key().public_bytes_raw().hex()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = urlsplit(request.url)
        covered = [
            ("@method", request.method),
            ("@path", url.path or "/"),
            ("@query", "?" + url.query),
        ]
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        if body:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            request.headers["Content-Digest"] = f"sha-256=:{digest}:"
            covered.append(("content-digest", request.headers["Content-Digest"]))
        key = request.headers.get("Idempotency-Key")
        if key is not None:
            text = key.decode("latin-1") if isinstance(key, bytes) else key
            covered.append(("idempotency-key", text.strip()))
        created = int(time.time())
        names = " ".join(f'"{name}"' for name, _ in covered)
        parameters = (
            f'({names});created={created};expires={created + 60};nonce="{secrets.token_hex(16)}"'
            f';keyid="{self.keyid}";alg="ed25519";tag="bursar"'
        )
        lines = [f'"{name}": {value}' for name, value in covered]
        lines.append(f'"@signature-params": {parameters}')
        signature = base64.b64encode(self.key.sign("\n".join(lines).encode())).decode()
        request.headers["Signature-Input"] = f"bursar={parameters}"
        request.headers["Signature"] = f"bursar=:{signature}:"
        return request


seed = os.environ.get("BURSAR_SIGNING_SEED")
if seed:
    schemathesis.auth.set_from_requests(Signature(bytes.fromhex(seed)))
