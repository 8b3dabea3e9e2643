//! Who there is, what a key is for, and who may issue for whom.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role of a certificate's owner: SET's `certificateType`, of which a certificate has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A customer with a card.
    Cardholder,
    /// A shop.
    Merchant,
    /// A payment gateway.
    Gateway,
    /// CCA: issues for cardholders.
    CardholderCa,
    /// MCA: issues for merchants.
    MerchantCa,
    /// PCA: issues for payment gateways.
    GatewayCa,
    /// GCA: a brand's CA of one region, which issues for the three CAs above.
    RegionalCa,
    /// BCA: the CA of one brand.
    BrandCa,
    /// RCA: the root of all brands.
    RootCa,
}

impl Role {
    /// All roles, in the order of their bits.
    pub const ALL: [Role; 9] = [
        Role::Cardholder,
        Role::Merchant,
        Role::Gateway,
        Role::CardholderCa,
        Role::MerchantCa,
        Role::GatewayCa,
        Role::RegionalCa,
        Role::BrandCa,
        Role::RootCa,
    ];

    /// The bit of `certificateType`, 0 to 8.
    pub const fn bit(self) -> u8 {
        match self {
            Role::Cardholder => 0,
            Role::Merchant => 1,
            Role::Gateway => 2,
            Role::CardholderCa => 3,
            Role::MerchantCa => 4,
            Role::GatewayCa => 5,
            Role::RegionalCa => 6,
            Role::BrandCa => 7,
            Role::RootCa => 8,
        }
    }

    /// The role in words, for messages to people.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Cardholder => "cardholder",
            Role::Merchant => "merchant",
            Role::Gateway => "payment gateway",
            Role::CardholderCa => "cardholder CA",
            Role::MerchantCa => "merchant CA",
            Role::GatewayCa => "gateway CA",
            Role::RegionalCa => "regional CA",
            Role::BrandCa => "brand CA",
            Role::RootCa => "root CA",
        }
    }

    /// Whether this role issues certificates.
    pub const fn is_authority(self) -> bool {
        !matches!(self, Role::Cardholder | Role::Merchant | Role::Gateway)
    }

    /// Whether this role talks to end entities: CCA, MCA and PCA have certificates for messages, too.
    pub const fn is_issuing_authority(self) -> bool {
        matches!(
            self,
            Role::CardholderCa | Role::MerchantCa | Role::GatewayCa
        )
    }

    /// Whether there are certificates of this role for `purpose` at all.
    pub const fn holds(self, purpose: Purpose) -> bool {
        matches!(
            (self, purpose),
            (Role::Cardholder, Purpose::Signature)
                | (
                    Role::Merchant | Role::Gateway,
                    Purpose::Signature | Purpose::KeyExchange
                )
                | (
                    Role::CardholderCa | Role::MerchantCa | Role::GatewayCa,
                    Purpose::Signature
                        | Purpose::KeyExchange
                        | Purpose::CertificateSigning
                        | Purpose::OcspSigning
                )
                | (
                    Role::RegionalCa | Role::BrandCa | Role::RootCa,
                    Purpose::CertificateSigning
                )
        )
    }

    /// Whether a CA of this role may issue a certificate to `subject` for `purpose`.
    ///
    /// Set-reference section 1: root, brand, optional region, then the three issuing CAs, each of which
    /// issues for its own kind alone. The certificates with which an issuing CA signs and opens messages
    /// come from the CA above it, those with which its OCSP responder answers from itself (RFC 6960 section
    /// 4.2.2.2). A cardholder has no key-exchange key.
    pub const fn may_issue(self, subject: Role, purpose: Purpose) -> bool {
        use Purpose::{CertificateSigning, KeyExchange, OcspSigning, Signature};
        matches!(
            (self, subject, purpose),
            (Role::RootCa, Role::BrandCa, CertificateSigning)
                | (Role::BrandCa, Role::RegionalCa, CertificateSigning)
                | (
                    Role::BrandCa | Role::RegionalCa,
                    Role::CardholderCa | Role::MerchantCa | Role::GatewayCa,
                    CertificateSigning | Signature | KeyExchange
                )
                | (Role::CardholderCa, Role::CardholderCa, OcspSigning)
                | (Role::MerchantCa, Role::MerchantCa, OcspSigning)
                | (Role::GatewayCa, Role::GatewayCa, OcspSigning)
                | (Role::CardholderCa, Role::Cardholder, Signature)
                | (Role::MerchantCa, Role::Merchant, Signature | KeyExchange)
                | (Role::GatewayCa, Role::Gateway, Signature | KeyExchange)
        )
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a certificate's key is for: its `keyUsage`, critical and exactly this, and its `extKeyUsage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// `digitalSignature`: signs messages.
    Signature,
    /// `keyEncipherment`: opens messages.
    KeyExchange,
    /// `keyCertSign` and `cRLSign`: issues certificates and CRLs.
    CertificateSigning,
    /// `digitalSignature` with `id-kp-OCSPSigning`: answers in an issuing CA's name whether its certificates are
    /// revoked.
    OcspSigning,
}

impl Purpose {
    /// The purpose in words, for messages to people.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Signature => "signature",
            Purpose::KeyExchange => "key exchange",
            Purpose::CertificateSigning => "certificate signing",
            Purpose::OcspSigning => "OCSP signing",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
