"""Certificates for tests of TLS."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificates(directory: Path) -> None:
    """Of an authority `ca.pem`, for 127.0.0.1 a key and certificate `server.pem`, of both kinds `authority.pem`.

    `authority.pem` has the authority's own key and certificate, which is for 127.0.0.1 too.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "server")]
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])

    def sign(public: ec.EllipticCurvePublicKey, name: x509.Name, *extensions: x509.ExtensionType) -> bytes:
        unsigned = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            unsigned = unsigned.add_extension(extension, critical=True)
        return unsigned.sign(authority, hashes.SHA256()).public_bytes(pem)

    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    own = sign(authority.public_key(), names[0], x509.BasicConstraints(ca=True, path_length=None), address)
    (directory / "ca.pem").write_bytes(own)
    secrets = [one.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) for one in (authority, key)]
    (directory / "authority.pem").write_bytes(secrets[0] + own)
    (directory / "server.pem").write_bytes(secrets[1] + sign(key.public_key(), names[1], address))
