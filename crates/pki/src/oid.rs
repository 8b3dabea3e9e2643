//! The object identifiers of the profile, as arcs.

use x509_parser::asn1_rs::Oid;

use crate::Role;

/// `setCext-hashedRoot`: the digest of the next root's public key, in a root's certificate.
pub const HASHED_ROOT_KEY: &[u64] = &[2, 23, 42, 7, 0];
/// `setCext-certType`: the role of the certificate's owner.
pub const CERTIFICATE_TYPE: &[u64] = &[2, 23, 42, 7, 1];
/// `setCext-merchData`: who the merchant is.
pub const MERCHANT_DATA: &[u64] = &[2, 23, 42, 7, 2];
/// `setCext-cCertRequired`: whether the gateway takes purchases from signed cardholders only.
pub const CARD_CERT_REQUIRED: &[u64] = &[2, 23, 42, 7, 3];
/// Where the extended key usages of the roles stand, under the enterprise number that IANA keeps for
/// documentation (RFC 5612). The role's `certificateType` bit is the last arc.
pub const ROLE_USAGE: &[u64] = &[1, 3, 6, 1, 4, 1, 32473, 2];

/// C of a name.
pub(crate) const COUNTRY: &[u64] = &[2, 5, 4, 6];
/// O of a name.
pub(crate) const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
/// OU of a name.
pub(crate) const ORGANIZATIONAL_UNIT: &[u64] = &[2, 5, 4, 11];
/// CN of a name.
pub(crate) const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
/// `subjectKeyIdentifier`.
pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
/// `keyUsage`.
pub(crate) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
/// `basicConstraints`.
pub(crate) const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
/// `cRLNumber`.
pub(crate) const CRL_NUMBER: &[u64] = &[2, 5, 29, 20];
/// `authorityKeyIdentifier`.
pub(crate) const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];
/// `extKeyUsage`.
pub(crate) const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
/// `id-pkix-ocsp-nocheck`: nobody asks about a responder what only the responder could tell.
pub(crate) const OCSP_NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
/// `id-kp-OCSPSigning`, the content of the DER.
pub(crate) const OCSP_SIGNING_DER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
/// `sha256WithRSAEncryption` (RFC 8017).
pub(crate) const SHA256_WITH_RSA: &[u64] = &[1, 2, 840, 113549, 1, 1, 11];

/// Whether an identifier has these arcs.
pub(crate) fn is(identifier: &Oid<'_>, arcs: &[u64]) -> bool {
    identifier
        .iter()
        .is_some_and(|found| found.eq(arcs.iter().copied()))
}

/// The extended key usage of a role: its `certificateType` bit under [`ROLE_USAGE`].
pub(crate) fn role_usage(role: Role) -> Vec<u64> {
    [ROLE_USAGE, &[u64::from(role.bit())]].concat()
}

/// As [`role_usage`], the content of the DER.
pub(crate) const fn role_usage_der(role: Role) -> &'static [u8] {
    match role {
        Role::Cardholder => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 0],
        Role::Merchant => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 1],
        Role::Gateway => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 2],
        Role::CardholderCa => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 3],
        Role::MerchantCa => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 4],
        Role::GatewayCa => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 5],
        Role::RegionalCa => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 6],
        Role::BrandCa => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 7],
        Role::RootCa => &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 2, 8],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn both_forms_of_a_role_usage_agree() {
        for role in Role::ALL {
            let arcs = Oid::from(&role_usage(role)).unwrap();
            assert_eq!(arcs.as_bytes(), role_usage_der(role));
        }
    }
}
