"""The other side of tests/jwcrypto.rs: makes and checks objects with PyPI's jwcrypto.

Reads one JSON request from standard input, writes one JSON answer to standard output.
`make` gives this side's keys, certificates and objects; `check` reads ours and fails on any
that is not as the request says.
"""

import base64
import datetime
import hashlib
import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from jwcrypto import jwe, jwk, jws

SIGN_ALGS = ["PS256"]
SEAL_ALGS = ["RSA-OAEP-256", "dir", "A256GCM"]


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64(data):
    return base64.b64encode(data).decode()


def thumbprint(der):
    return b64url(hashlib.sha256(der).digest())


def private_jwk(key):
    return jwk.JWK.from_pyca(key)


def public_der(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, form)


def certificate(name, public_key, signer):
    """A certificate for `public_key`, signed by `signer`, as DER."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(signer, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


def sign(key, header, payload):
    token = jws.JWS(payload)
    token.add_signature(private_jwk(key), protected=json.dumps(header))
    return token.serialize(compact=True)


def seal(key, header, plaintext):
    token = jwe.JWE(plaintext, protected=json.dumps(header), recipient=key, algs=SEAL_ALGS)
    return token.serialize(compact=True)


def make(request):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    theirs = serialization.load_der_public_key(base64.b64decode(request["spki"]))
    own_certificate = certificate("jwcrypto", key.public_key(), key)
    their_certificate = certificate("openset", theirs, key)
    signed = sign(
        key,
        {
            "alg": "PS256",
            "cty": "PInitResData",
            "x5t#S256": thumbprint(own_certificate),
            "x5c": [b64(own_certificate)],
        },
        request["payload"],
    )
    sealed = seal(
        jwk.JWK.from_pyca(theirs),
        {
            "alg": "RSA-OAEP-256",
            "enc": "A256GCM",
            "cty": "PI",
            "x5t#S256": thumbprint(their_certificate),
        },
        request["payload"],
    )
    direct = seal(
        jwk.JWK(kty="oct", k=request["content_key"]),
        {"alg": "dir", "enc": "A256GCM", "cty": "CertRes"},
        request["payload"],
    )
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "pkcs8": b64(pkcs8),
        "spki": b64(public_der(key.public_key())),
        "own_certificate": b64(own_certificate),
        "their_certificate": b64(their_certificate),
        "signed": signed,
        "sealed": sealed,
        "direct": direct,
    }


def expect(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")


def open_with(key, compact):
    token = jwe.JWE(algs=SEAL_ALGS)
    token.deserialize(compact, key)
    return token.jose_header, token.payload.decode()


def check(request):
    """Trusts nothing but the certificate inside `x5c`, as any receiver would read it."""
    token = jws.JWS()
    token.allowed_algs = SIGN_ALGS
    token.deserialize(request["signed"])
    der = base64.b64decode(token.jose_header["x5c"][0])
    expect(token.jose_header["x5t#S256"], thumbprint(der), "x5t#S256 of the JWS")
    expect(token.jose_header["cty"], "PInitResData", "cty of the JWS")
    expect(set(token.jose_header), {"alg", "cty", "x5t#S256", "x5c"}, "members of the JWS")
    leaf = x509.load_der_x509_certificate(der).public_key()
    token.verify(jwk.JWK.from_pyca(leaf))
    expect(token.payload.decode(), request["payload"], "payload of the JWS")

    key = serialization.load_der_private_key(base64.b64decode(request["pkcs8"]), None)
    header, plaintext = open_with(private_jwk(key), request["sealed"])
    expect(plaintext, request["payload"], "plaintext of the JWE")
    expect(header["x5t#S256"], request["sealed_x5t"], "x5t#S256 of the JWE")
    expect(set(header), {"alg", "enc", "cty", "x5t#S256"}, "members of the JWE")

    oct_key = jwk.JWK(kty="oct", k=request["content_key"])
    header, plaintext = open_with(oct_key, request["direct"])
    expect(plaintext, request["payload"], "plaintext of the direct JWE")
    expect(header, {"alg": "dir", "enc": "A256GCM", "cty": "CertRes"}, "direct header")
    return {"checked": 3}


def main():
    request = json.load(sys.stdin)
    answer = {"make": make, "check": check}[request.pop("do")](request)
    json.dump(answer, sys.stdout)


main()
