# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for one relocation: an authority that signs one certificate a part and is then forgotten.

Nothing is written to a disk here. Whoever holds a certificate of another relocation, however new, is a stranger to this one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PARTS = ("source", "destination", "edge")
#: The clocks of two hosts may differ; a relocation is over long before this.
SLACK = datetime.timedelta(hours=1)
LIFETIME = datetime.timedelta(hours=24)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def make(relocation: str, parts: Iterable[str] = PARTS) -> dict[str, dict[str, str]]:
    """Return for each of the ``parts`` its ``authority``, ``certificate`` and ``key`` (PEM texts).

    :param relocation: the relocation's id; a part's certificate names ``PART.ID``, which is what its peers check.
    """
    begin = datetime.datetime.now(datetime.timezone.utc)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(f"relocation {relocation}")

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - SLACK)
            .not_valid_after(begin + LIFETIME)
        )

    usage = {
        "digital_signature": False, "content_commitment": False, "key_encipherment": False, "data_encipherment": False,
        "key_agreement": False, "key_cert_sign": True, "crl_sign": False, "encipher_only": False, "decipher_only": False,
    }  # fmt: skip
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        certificate(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id)
    result = {}
    for part in parts:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = (
            certificate(_name(f"{part}.{relocation}"), key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{part}.{relocation}")]), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(signer, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        result[part] = {
            "authority": authority.public_bytes(serialization.Encoding.PEM).decode(),
            "certificate": signed.public_bytes(serialization.Encoding.PEM).decode(),
            "key": _pem(key),
        }
    return result
