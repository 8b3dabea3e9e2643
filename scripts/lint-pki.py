#!/usr/bin/env python3
"""Lints certificates, CRLs and OCSP responses with pkilint (pip install pkilint) against RFC 5280 and RFC 6960.

    scripts/lint-pki.py FILE...      PEM with certificates (*.pem), CRLs (*.crl) and OCSP responses (*.ocsp) in DER,
                                    folders of such files, or the SQLite database of a certificate authority (*.db)

Prints every finding from notices up and ends with status 1 if one is an error. None is passed over.
"""

import base64
import contextlib
import pathlib
import re
import sqlite3
import sys

from pkilint import loader, pkix
from pkilint.pkix import certificate, crl, extension, name, ocsp

PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def certificate_linter():
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def crl_linter():
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


def ocsp_linter():
    return ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )


LINTERS = {
    "certificate": (certificate_linter, loader.load_certificate),
    "crl": (crl_linter, loader.load_crl),
    "ocsp": (ocsp_linter, loader.load_ocsp_response),
}


def of_file(path):
    """Yields kind, name and DER of everything in a file."""
    if path.suffix == ".pem":
        for number, found in enumerate(PEM.findall(path.read_text())):
            yield "certificate", f"{path.name}[{number}]", base64.b64decode(found)
    elif path.suffix == ".crl":
        yield "crl", path.name, path.read_bytes()
    elif path.suffix == ".ocsp":
        yield "ocsp", path.name, path.read_bytes()
    elif path.suffix == ".db":
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            stored = database.execute("SELECT certificate FROM authorities UNION SELECT certificate FROM certificates")
            for number, (der,) in enumerate(stored):
                yield "certificate", f"{path.name}: certificate {number}", der
            for issuer, der in database.execute("SELECT issuer_id, der FROM crls"):
                yield "crl", f"{path.name}: CRL of {issuer}", der


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    files = []
    for argument in map(pathlib.Path, sys.argv[1:]):
        files += sorted(argument.iterdir()) if argument.is_dir() else [argument]
    linters = {kind: (make(), load) for kind, (make, load) in LINTERS.items()}
    counts = dict.fromkeys(LINTERS, 0)
    errors = 0
    for kind, where, der in (found for file in files for found in of_file(file)):
        counts[kind] += 1
        linter, load = linters[kind]
        for result in linter.validate(load(der, where).root):
            for found in result.finding_descriptions:
                code, severity = found.finding.code, found.finding.severity
                if severity.name in ("DEBUG", "INFO"):
                    continue
                errors += severity.name in ("ERROR", "FATAL")
                print(f"{severity.name} {where} {result.node.path}: {code} {found.message or ''}")
    print("pkilint:", ", ".join(f"{count} {kind}" for kind, count in counts.items()), f"linted, {errors} errors")
    if errors or not sum(counts.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
