//! What a path is asked for, and why it is refused.

use crate::ocsp::OcspError;
use crate::{BrandCrlIdentifierError, BrandId, CertificateError, CrlError, Purpose, Role};

/// What the leaf of a chain has to be.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The role of its owner.
    pub role: Role,
    /// What its key is for; a leaf never signs certificates.
    pub purpose: Purpose,
    /// The brand of the whole chain, where the caller knows which it must be. Without it the chain may be of
    /// any one brand.
    pub brand: Option<&'a BrandId>,
}

/// Why a chain or a CRL is refused: one variant a fact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A certificate's `notAfter` is past.
    #[error("the certificate of the {0} has expired: its owner must renew it")]
    Expired(Role),
    /// A certificate's `notBefore` is still to come.
    #[error("the certificate of the {0} is not valid yet: compare the clocks of both sides")]
    NotYetValid(Role),
    /// The chain does not lead, link by link, to the pinned root.
    #[error("the chain does not lead to the pinned root: send every CA below the root, leaf first")]
    UnknownIssuer,
    /// A certificate was not signed by the key of the CA that it names.
    #[error("a certificate in the chain was not signed by the CA that it names")]
    BadSignature,
    /// The leaf's owner is another kind of party.
    #[error("the certificate belongs to a {found}, but one of a {expected} is needed here")]
    WrongRole {
        /// What was asked for.
        expected: Role,
        /// What the leaf is.
        found: Role,
    },
    /// The leaf's key is for something else.
    #[error("the certificate's key is for {found}, but one for {expected} is needed here")]
    WrongPurpose {
        /// What was asked for.
        expected: Purpose,
        /// What the leaf is for.
        found: Purpose,
    },
    /// A CA issued for a role or purpose that is not its own to issue for.
    #[error("a {issuer} may not issue a {purpose} certificate to a {subject}")]
    WrongIssuer {
        /// The CA that issued.
        issuer: Role,
        /// For whom it issued.
        subject: Role,
        /// What for.
        purpose: Purpose,
    },
    /// The chain's brand is not the one asked for, or the chain crosses from one brand to another.
    #[error("the chain is not of the one brand that is needed here")]
    WrongBrand,
    /// A certificate on the path is on its issuer's CRL.
    #[error("the certificate of the {0} has been revoked by its issuer")]
    Revoked(Role),
    /// No CRL of a CA on the path is held.
    #[error("no CRL of the {0} is held: fetch it from the certificate authority")]
    CrlMissing(Role),
    /// A CRL's `nextUpdate` is past.
    #[error(
        "the CRL of the {0} is out of date: fetch the current one from the certificate authority"
    )]
    CrlStale(Role),
    /// A CRL was not signed by the CA that it names.
    #[error("the CRL was not signed by the {0} that it names: fetch it again")]
    CrlForged(Role),
    /// A CRL that names another CA than the one it was handed in for.
    #[error("the CRL names another CA than the {0} it was handed in for")]
    CrlOfAnother(Role),
    /// A CRL with a lower number than the one held.
    #[error("CRL number {offered} is older than number {held}, which is held already")]
    CrlOlder {
        /// The number held.
        held: u64,
        /// The number offered.
        offered: u64,
    },
    /// Another CRL under the number of the one held.
    #[error(
        "two different CRLs have the number {number}: ask the certificate authority which one holds"
    )]
    CrlNumberReused {
        /// The number.
        number: u64,
    },
    /// A CRL's `thisUpdate` is still to come.
    #[error("the CRL of the {0} is dated in the future: compare the clocks of both sides")]
    CrlFuture(Role),
    /// What was offered as a CRL is none.
    #[error("a CRL breaks the profile")]
    CrlMalformed(#[from] CrlError),
    /// No BrandCRLIdentifier of the chain's brand is held.
    #[error("no BrandCRLIdentifier of {0} is held: fetch it from the certificate authority")]
    BciMissing(BrandId),
    /// A BrandCRLIdentifier's `notAfter` is past.
    #[error(
        "the BrandCRLIdentifier of {0} is out of date: fetch the current one from the certificate authority"
    )]
    BciStale(BrandId),
    /// A BrandCRLIdentifier's `notBefore` is still to come.
    #[error(
        "the BrandCRLIdentifier of {0} is dated in the future: compare the clocks of both sides"
    )]
    BciFuture(BrandId),
    /// A BrandCRLIdentifier was not signed by the brand CA that it names.
    #[error("the BrandCRLIdentifier of {0} was not signed by its brand CA: fetch it again")]
    BciForged(BrandId),
    /// A BrandCRLIdentifier of another brand, or handed in for another CA than the brand's.
    #[error("the BrandCRLIdentifier of {0} is not of the CA that it was handed in for")]
    BciOfAnother(BrandId),
    /// A BrandCRLIdentifier with a lower sequence number than the one held.
    #[error(
        "BrandCRLIdentifier number {offered} is older than number {held}, which is held already"
    )]
    BciOlder {
        /// The number held.
        held: u64,
        /// The number offered.
        offered: u64,
    },
    /// Another BrandCRLIdentifier under the sequence number of the one held.
    #[error(
        "two different BrandCRLIdentifiers have the number {sequence}: ask the certificate authority which one holds"
    )]
    BciSequenceReused {
        /// The number.
        sequence: u64,
    },
    /// A CA on the path that the brand does not name among its own.
    #[error("the BrandCRLIdentifier does not name the {0}: it is none of the brand's CAs")]
    BciOmits(Role),
    /// The CRL held of a CA is older than the one that the brand names.
    #[error(
        "the CRL of the {authority} has number {held}, but the brand names number {named}: fetch the current one"
    )]
    CrlBehindBci {
        /// Whose CRL it is.
        authority: Role,
        /// The number of the CRL held.
        held: u64,
        /// The number that the BrandCRLIdentifier names.
        named: u64,
    },
    /// A CRL or BrandCRLIdentifier with, or naming, a number that no CA can have come to by now.
    #[error(
        "number {number} is more than a day ahead of the clock: compare the clocks of both sides"
    )]
    NumberAhead {
        /// The number.
        number: u64,
    },
    /// More CRLs or CA certificates at once than are looked at.
    #[error(
        "a message brings too many CRLs or CA certificates: fetch them from the certificate authority"
    )]
    TooMuchNews,
    /// The CRL of one more CA than are held.
    #[error(
        "CRLs of {} CAs are held, and no more are taken",
        crate::KNOWN_AUTHORITIES_MAX
    )]
    TooManyAuthorities,
    /// What was offered as a BrandCRLIdentifier is none.
    #[error("a BrandCRLIdentifier is not one")]
    BciMalformed(#[from] BrandCrlIdentifierError),
    /// An OCSP response without the nonce that was asked with: perhaps an old one.
    #[error("the OCSP response does not repeat the nonce: ask again")]
    OcspWrongNonce,
    /// An OCSP response about other certificates.
    #[error("the OCSP response is about another certificate: ask about this one")]
    OcspOtherCertificate,
    /// An OCSP response about the certificate of this number of another CA.
    #[error("the OCSP response is about a certificate of another CA: ask the one that issued this")]
    OcspWrongIssuer,
    /// An OCSP response of somebody to whom the certificate's issuer did not delegate it.
    #[error("the OCSP response is not of a responder of the CA that issued the certificate")]
    OcspWrongResponder,
    /// An OCSP response that its responder did not sign.
    #[error("the OCSP response was not signed by the responder that it names: ask again")]
    OcspForged,
    /// An OCSP response whose `nextUpdate` is past.
    #[error("the OCSP response about the {0} is out of date: ask again")]
    OcspStale(Role),
    /// An OCSP response whose `thisUpdate` is still to come.
    #[error(
        "the OCSP response about the {0} is dated in the future: compare the clocks of both sides"
    )]
    OcspFuture(Role),
    /// A responder that does not know the certificate.
    #[error("the CA of the {0} does not know the certificate: its owner must register again")]
    OcspUnknown(Role),
    /// What was offered as an OCSP response is none.
    #[error("an OCSP response is not one")]
    OcspMalformed(#[from] OcspError),
    /// More CAs below one than its `pathLenConstraint` allows.
    #[error("more CAs stand below the {0} than its certificate allows")]
    PathTooLong(Role),
    /// A CA's certificate stands where a leaf's must.
    #[error("the first certificate of the chain is a CA's, which signs no messages")]
    CaAsLeaf,
    /// A leaf's certificate stands where a CA's must.
    #[error("a certificate of a {0} stands where a CA's must: it cannot issue")]
    LeafAsCa(Role),
    /// The leaf names itself as its issuer.
    #[error("the certificate is self-signed: only one that leads to the pinned root is accepted")]
    SelfSigned,
    /// A certificate breaks the profile.
    #[error("a certificate in the chain breaks the profile")]
    Certificate(#[from] CertificateError),
    /// The path library refuses what our own checks let through.
    #[error("the chain breaks a rule of RFC 5280: {0}")]
    Refused(String),
}
