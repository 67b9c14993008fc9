# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of one relocation, read with a library other than the one that speaks TLS."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

KEYS = credentials.make("r1")


def certificate(text: str) -> x509.Certificate:
    """Read a PEM."""
    return x509.load_pem_x509_certificate(text.encode())


def test_each_part_has_its_own_key_and_one_authority() -> None:
    """Nobody can pass for another, and no part holds the authority's key."""
    assert set(KEYS) == {"source", "destination", "edge"}
    assert len({part["key"] for part in KEYS.values()}) == 3 and len({part["authority"] for part in KEYS.values()}) == 1
    authority = certificate(KEYS["edge"]["authority"]).public_key()
    for part in KEYS.values():
        assert set(part) == {"authority", "certificate", "key"}
        key = serialization.load_pem_private_key(part["key"].encode(), None).public_key()
        assert key == certificate(part["certificate"]).public_key() != authority


@pytest.mark.parametrize("part", KEYS)
def test_a_certificate_names_its_part_and_relocation(part: str) -> None:
    """For both roles of TLS, since the parts are servers and clients of each other; and it is no authority."""
    found = certificate(KEYS[part]["certificate"])
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{part}.r1"]
    assert found.subject.rfc4514_string() == f"CN={part}.r1"
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    found.verify_directly_issued_by(certificate(KEYS[part]["authority"]))


def test_two_relocations_are_strangers() -> None:
    """Also of the same id."""
    other = credentials.make("r1")
    with pytest.raises(InvalidSignature):
        certificate(other["source"]["certificate"]).verify_directly_issued_by(certificate(KEYS["source"]["authority"]))


def test_they_last_as_long_as_a_relocation_may_and_clocks_may_differ() -> None:
    """An hour back, a day ahead."""
    now = datetime.datetime.now(datetime.UTC)
    for text in (KEYS["edge"]["certificate"], KEYS["edge"]["authority"]):
        found = certificate(text)
        assert found.not_valid_before_utc < now - datetime.timedelta(minutes=50)
        assert now + datetime.timedelta(hours=23) < found.not_valid_after_utc < now + datetime.timedelta(hours=25)


def test_the_authority_signs_parts_and_nothing_else() -> None:
    """It has no authorities below it."""
    authority = certificate(KEYS["edge"]["authority"])
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and not usage.digital_signature
