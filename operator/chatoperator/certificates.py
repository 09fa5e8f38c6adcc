"""An authority of one ChatCluster's own, and the certificates that it issues to the datastores' members (RFC 5280).

Keys are ECDSA over P-256. A certificate counts from an hour before it is made, for clocks that are behind.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from chatoperator.plan import tls
from chatoperator.plan.tls import Certificate

AUTHORITY_DAYS: Final = 3650
MEMBER_DAYS: Final = 90
_BEHIND: Final = timedelta(hours=1)


class AuthorityUnusable(ValueError):
    """The authority's Secret does not hold a certificate and its key."""


class Keypair(Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


def make_authority(name: str, now: datetime) -> Keypair:
    """Signs members' certificates, no other authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"{name} {now:%Y-%m-%d}")
    built = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _keypair(built, key)


def issue(authority: Keypair, name: str, hosts: Sequence[str], now: datetime, days: float = MEMBER_DAYS) -> Keypair:
    """For servers under ``hosts``, which are each other's clients too. Raises :class:`AuthorityUnusable`."""
    above, signer = _signer(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        _builder(_name(name), above.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _keypair(built, key)


def read(pem: str) -> tuple[Certificate, ...]:
    """The certificates in ``pem``, in order; none where it holds something else."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return ()
    return tuple(_read(each) for each in found)


def successor(believed: str, name: str, now: datetime) -> Mapping[str, str]:
    """Contents of the Secret of a new authority; the first of those that were ``believed`` stays so beside it."""
    made = make_authority(name, now)
    before = _first(believed)
    return {tls.CERTIFICATE: made.certificate, tls.KEY: made.key, tls.TRUST: made.certificate + before}


def member(order: tls.Issue, held: Mapping[str, str], authority: Mapping[str, str], now: datetime) -> Mapping[str, str]:
    """Contents of a member's Secret, of which ``held`` is there already. Raises :class:`AuthorityUnusable`."""
    trust = authority[tls.TRUST]
    if not order.anew:
        return {**held, tls.TRUST: trust}
    made = issue(Keypair(authority[tls.CERTIFICATE], authority[tls.KEY]), order.component, order.hosts, now)
    both = {tls.COMBINED: made.key + made.certificate} if order.combined else {}
    return {tls.CERTIFICATE: made.certificate, tls.KEY: made.key, tls.TRUST: trust, **both}


def _first(pem: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return pem[: pem.index(end) + len(end)] if end in pem else ""


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate."""
    return hashlib.sha256(der).hexdigest()


def _read(found: x509.Certificate) -> Certificate:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        hosts = ()
    return Certificate(
        hosts=hosts,
        since=found.not_valid_before_utc.timestamp(),
        until=found.not_valid_after_utc.timestamp(),
        fingerprint=fingerprint(found.public_bytes(Encoding.DER)),
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEHIND)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signer(authority: Keypair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        above = x509.load_pem_x509_certificate(authority.certificate.encode())
        key = load_pem_private_key(authority.key.encode(), password=None)
    except ValueError as error:
        raise AuthorityUnusable(f"the authority's Secret cannot be read ({error}): delete it for a new one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != above.public_key():
        raise AuthorityUnusable("the authority's key is not that of its certificate: delete its Secret for a new one")
    return above, key


def _keypair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Keypair:
    return Keypair(
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
