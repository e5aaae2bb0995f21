"""PAdES signatures inside PDF files: made and proved by pyHanko, without the network."""

from __future__ import annotations

import io
import logging
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from reports.signing import Signer

FIELD = "FundwatchSignature"
_RESERVED = 16_384


def sign(signer: Signer, content: bytes, reason: str) -> bytes:
    """The PDF with one invisible PAdES signature over all of it, as an incremental update."""
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import fields, signers
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    certificate = _certificate(signer.certificate)
    store = SimpleCertificateStore()
    store.register(certificate)
    metadata = signers.PdfSignatureMetadata(
        field_name=FIELD, reason=reason, md_algorithm="sha256", subfilter=fields.SigSeedSubFilter.PADES
    )
    key = signers.SimpleSigner(signing_cert=certificate, signing_key=_private_key(signer), cert_registry=store)
    output = io.BytesIO()
    writer = IncrementalPdfFileWriter(io.BytesIO(content))
    signers.PdfSigner(metadata, key).sign_pdf(writer, output=output, bytes_reserved=_RESERVED)
    return output.getvalue()


def faults(content: bytes, certificate: x509.Certificate, name: str) -> list[str]:
    """What is wrong with the signature of a PDF: empty when there is one, the certificate holder's, over the whole file."""
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko.sign.validation.settings import KeyUsageConstraints
    from pyhanko.sign.validation.status import SignatureCoverageLevel
    from pyhanko_certvalidator import ValidationContext

    logging.getLogger("pyhanko").setLevel(logging.CRITICAL)  # what it finds is in the status, told below
    try:
        signatures = PdfFileReader(io.BytesIO(content)).embedded_signatures
        if len(signatures) != 1:
            return [f"{name}: has {len(signatures)} signatures, not one"]
        # the trusted certificate is named, not found: it counts as of the moment of signing, also years later
        context = ValidationContext(
            trust_roots=[_certificate(certificate)], allow_fetching=False, moment=signatures[0].self_reported_timestamp
        )
        usage = KeyUsageConstraints(key_usage={"digital_signature", "non_repudiation"}, match_all_key_usages=False)
        status = validate_pdf_signature(signatures[0], context, key_usage_settings=usage)
    except Exception as error:  # whatever a broken file makes of its reader is a broken file
        return [f"{name}: its signature cannot be read: {error}"]
    found = []
    if not (status.intact and status.valid):
        found.append(f"{name}: its signature does not hold")
    if not status.trusted:
        found.append(f"{name}: is signed by another key")
    if status.coverage is not SignatureCoverageLevel.ENTIRE_FILE:
        found.append(f"{name}: its signature does not cover the whole file")
    return found


def attachment(content: bytes, name: str) -> bytes | None:
    """The bytes of a file attached to a PDF; None when there is not exactly one of that name."""
    from pyhanko.pdf_utils.reader import PdfFileReader

    names = PdfFileReader(io.BytesIO(content)).root["/Names"]["/EmbeddedFiles"]
    found = list(_embedded(names, name))
    return found[0] if len(found) == 1 else None


def _embedded(node: Any, name: str) -> list[bytes]:
    """Files of that name below a node of the name tree."""
    specifications = [node["/Names"][index + 1] for index in range(0, len(node.get("/Names", ())), 2)]
    found = [each["/EF"]["/F"].data for each in specifications if str(each.get("/UF", each.get("/F"))) == name]
    for child in node.get("/Kids", ()):
        found += _embedded(child, name)
    return found


def _certificate(certificate: x509.Certificate) -> Any:
    from asn1crypto import x509 as asn1_x509

    return asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))


def _private_key(signer: Signer) -> Any:
    from asn1crypto import keys

    der = signer.key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return keys.PrivateKeyInfo.load(der)
