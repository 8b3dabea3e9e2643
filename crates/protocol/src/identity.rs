//! A party's own keys and certificates.

use crate::messages::me_aq_c_init::IdData;
use openset_jose::{PrivateKey, Thumbprint};
use openset_pki::{BrandId, Certificate, Chain, Purpose};

/// A signature key with its certificate's chain.
#[derive(Clone, Debug)]
pub struct SigningIdentity {
    chain: Chain,
    key: PrivateKey,
}

/// A key-exchange key with its certificate's chain.
#[derive(Clone, Debug)]
pub struct KeyExchangeIdentity {
    chain: Chain,
    key: PrivateKey,
}

/// The key and the certificate do not belong together, or the certificate is for another use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate certifies another key.
    #[error("the certificate is for another key; load the pair that was issued together")]
    AnotherKey,
    /// The certificate's key usage is not the one needed.
    #[error("the certificate is not for {0:?}")]
    AnotherPurpose(Purpose),
}

fn belongs(chain: &Chain, key: &PrivateKey, purpose: Purpose) -> Result<(), IdentityError> {
    if chain.leaf().public_key() != key.public_key() {
        return Err(IdentityError::AnotherKey);
    }
    if chain.leaf().purpose() != purpose {
        return Err(IdentityError::AnotherPurpose(purpose));
    }
    Ok(())
}

impl SigningIdentity {
    /// Binds a key to its chain.
    ///
    /// # Errors
    /// [`IdentityError`] when they do not belong together.
    pub fn new(chain: Chain, key: PrivateKey) -> Result<Self, IdentityError> {
        belongs(&chain, &key, Purpose::Signature)?;
        Ok(Self { chain, key })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The certificate's thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.certificate().thumbprint()
    }

    /// The brand that certified it.
    #[must_use]
    pub fn brand(&self) -> Option<&BrandId> {
        self.certificate().brand()
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

impl KeyExchangeIdentity {
    /// Binds a key to its chain.
    ///
    /// # Errors
    /// [`IdentityError`] when they do not belong together.
    pub fn new(chain: Chain, key: PrivateKey) -> Result<Self, IdentityError> {
        belongs(&chain, &key, Purpose::KeyExchange)?;
        Ok(Self { chain, key })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The certificate's thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.certificate().thumbprint()
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// The pair that merchants, gateways and CAs have for each brand.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// To sign with.
    pub signature: SigningIdentity,
    /// To open with.
    pub key_exchange: KeyExchangeIdentity,
}

/// Whether two certificates are of the same party: same role, same subject name, and for merchants, whose
/// display names need not be unique, the same id at the same acquirer.
#[must_use]
pub fn same_party(one: &Certificate, other: &Certificate) -> bool {
    let merchant = |c: &Certificate| {
        c.merchant_data()
            .map(|m| (m.merchant_id.clone(), m.acquirer_bin.clone()))
    };
    one.role() == other.role()
        && one.subject_der() == other.subject_der()
        && merchant(one) == merchant(other)
}

/// Whether a certificate names this merchant (in merchantData) or gateway (in its CN).
pub(crate) fn names_party(certificate: &Certificate, id_data: &IdData) -> bool {
    match id_data {
        IdData::Merchant {
            merchant_bin,
            merchant_id,
        } => certificate.merchant_data().is_some_and(|data| {
            data.merchant_id == *merchant_id && data.acquirer_bin == merchant_bin.as_str()
        }),
        IdData::Gateway {
            acquirer_bin,
            gateway_id,
        } => certificate.common_name() == format!("{acquirer_bin}:{gateway_id}"),
    }
}
