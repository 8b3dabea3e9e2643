//! The object identifiers of the profile, as arcs.

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
