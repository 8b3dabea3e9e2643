//! Thumbs and news: what a party holds of a brand's certificates and revocations, and what another can
//! tell it that it does not hold (reference section 1, "Thumbprints" and "CRLs and BCI").
//!
//! A request names the CA certificates, CRLs and BrandCRLIdentifier of the brand that its sender holds. The
//! response leaves those certificates out of its chains, brings the BrandCRLIdentifier and the CRLs that were
//! not named, and repeats the thumbs under its signature. Certificates of end entities are never named: in
//! clear they would tell where a wallet shops.

use crate::ids::ExactBytes;
use crate::{BrandId, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{BrandCrlIdentifier, Certificate, Chain, Crl, PathVerifier};
use serde::{Deserialize, Serialize};

/// The most thumbprints of one kind that a request names.
const THUMBS_MAX: usize = 64;
/// The most CRLs that come with a message.
const NEWS_CRLS_MAX: usize = 32;
/// The most bytes of CRLs that a response brings. Larger ones are fetched from the CA.
pub const NEWS_BYTES_MAX: usize = 32 * 1024;

/// Thumbs: SHA-256 of the DER of what a requester holds. At most 64 of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thumbs {
    /// CA certificates.
    #[serde(deserialize_with = "bounded")]
    pub certs: Vec<Thumbprint>,
    /// CRLs.
    #[serde(deserialize_with = "bounded")]
    pub crls: Vec<Thumbprint>,
    /// BrandCRLIdentifiers.
    #[serde(deserialize_with = "bounded")]
    pub bcis: Vec<Thumbprint>,
}

fn bounded<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Thumbprint>, D::Error> {
    let thumbs = Vec::<Thumbprint>::deserialize(deserializer)?;
    if thumbs.len() > THUMBS_MAX {
        return Err(serde::de::Error::custom("too many thumbprints"));
    }
    Ok(thumbs)
}

impl Thumbs {
    /// What a verifier holds of a brand.
    #[must_use]
    pub fn of(verifier: &PathVerifier, brand: &BrandId) -> Self {
        let mut thumbs = Self {
            certs: verifier.authorities_held(brand),
            crls: verifier
                .crls_held(brand)
                .iter()
                .map(Crl::thumbprint)
                .collect(),
            bcis: verifier
                .brand_crl_identifier_held(brand)
                .iter()
                .map(BrandCrlIdentifier::thumbprint)
                .collect(),
        };
        // What is not named is sent: that costs bytes and nothing else.
        thumbs.certs.truncate(THUMBS_MAX);
        thumbs.crls.truncate(THUMBS_MAX);
        thumbs
    }
}

/// What a responder knows of a brand's revocations: the newest that there is.
#[derive(Clone, Debug, Default)]
pub struct RevocationState {
    /// The brand's list of current CRLs.
    pub bci: Option<BrandCrlIdentifier>,
    /// The CRLs of the CAs of the brand and of the root.
    pub crls: Vec<Crl>,
}

impl RevocationState {
    /// What a verifier holds of a brand.
    #[must_use]
    pub fn of(verifier: &PathVerifier, brand: &BrandId) -> Self {
        Self {
            bci: verifier.brand_crl_identifier_held(brand),
            crls: verifier.crls_held(brand),
        }
    }
}

/// A BrandCRLIdentifier and the CRLs that it names, as they travel in a signed response. They prove themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct News {
    /// BCI, DER.
    pub bci: ExactBytes,
    /// CRLs, DER.
    pub crls: Vec<ExactBytes>,
}

impl News {
    /// What a requester that named `thumbs` does not hold. Nothing if it holds the newest BrandCRLIdentifier.
    pub(crate) fn beyond(thumbs: &Thumbs, state: &RevocationState) -> Option<Self> {
        let bci = state.bci.as_ref()?;
        if thumbs.bcis.contains(&bci.thumbprint()) {
            return None;
        }
        let mut room = NEWS_BYTES_MAX;
        let crls = state
            .crls
            .iter()
            .filter(|crl| !thumbs.crls.contains(&crl.thumbprint()))
            .filter(|crl| {
                let fits = crl.der().len() <= room;
                if fits {
                    room = room.saturating_sub(crl.der().len());
                }
                fits
            })
            .take(NEWS_CRLS_MAX)
            .map(|crl| ExactBytes(crl.der().to_vec()))
            .collect();
        Some(Self {
            bci: ExactBytes(bci.der().to_vec()),
            crls,
        })
    }

    /// Takes in what is newer than what the verifier holds, also of CAs whose certificates came along.
    ///
    /// # Errors
    /// Forged or unreadable news.
    pub(crate) fn learn(
        &self,
        authorities: &[Certificate],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        if self.crls.len() > NEWS_CRLS_MAX {
            return Err(Rejection::Malformed("too many CRLs".to_owned()));
        }
        let crls: Vec<Vec<u8>> = self.crls.iter().map(|crl| crl.0.clone()).collect();
        verifier.learn_with(authorities, &crls, Some(&self.bci.0), now.seconds())?;
        Ok(())
    }
}

/// What is known of the receiver of a signed message.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    holds: Vec<Thumbprint>,
    thumbs: Option<Thumbs>,
    news: Option<News>,
}

impl Receiver {
    /// One of whom nothing is known: chains travel whole.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// One that was shown this chain, or whose own it is: it holds the CAs in it.
    #[must_use]
    pub fn holding(chain: &Chain) -> Self {
        let authorities = chain.certificates().iter().skip(1);
        Self {
            holds: authorities.map(Certificate::thumbprint).collect(),
            ..Self::default()
        }
    }

    /// A party with a certificate of its own: it holds the CAs above itself.
    #[must_use]
    pub fn holding_chain_of(certificate: &Certificate, verifier: &PathVerifier) -> Self {
        let authorities = verifier.authority_chain(certificate.issuer_der(), None);
        authorities.map_or_else(Self::unknown, |chain| {
            let holds = chain.certificates().iter().map(Certificate::thumbprint);
            Self {
                holds: holds.collect(),
                ..Self::default()
            }
        })
    }

    /// Holds only what both of them hold.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.holds.retain(|thumb| other.holds.contains(thumb));
        self
    }

    /// Whoever sent a request with these thumbs: what it named is left out, what it lacks is brought.
    #[must_use]
    pub fn asking(thumbs: Option<&Thumbs>, state: &RevocationState) -> Self {
        let Some(thumbs) = thumbs else {
            return Self::unknown();
        };
        Self {
            holds: thumbs.certs.clone(),
            thumbs: Some(thumbs.clone()),
            news: News::beyond(thumbs, state),
        }
    }

    pub(crate) fn thumbs(&self) -> Option<&Thumbs> {
        self.thumbs.as_ref()
    }

    pub(crate) fn news(&self) -> Option<&News> {
        self.news.as_ref()
    }

    /// The chain as it travels: the leaf, and the CAs above it that the receiver does not hold.
    pub(crate) fn lacks<'a>(&self, chain: &'a Chain) -> impl Iterator<Item = &'a Certificate> {
        let certificates = chain.certificates().iter();
        let (leaf, authorities) = (certificates.clone().take(1), certificates.skip(1));
        // Whoever holds a CA holds those above it.
        leaf.chain(authorities.take_while(|ca| !self.holds.contains(&ca.thumbprint())))
    }

    /// As [`Self::lacks`], of a chain that is encoded already.
    pub(crate) fn carried_of(&self, mut chain: Vec<ExactBytes>) -> Vec<ExactBytes> {
        let is_held = |ca: &ExactBytes| self.holds.contains(&Thumbprint::of(&ca.0));
        let authorities = chain.get(1..).unwrap_or_default();
        if let Some(place) = authorities.iter().position(is_held) {
            chain.truncate(place.saturating_add(1));
        }
        chain
    }

    /// As [`Self::lacks`], as it travels inside a payload.
    pub(crate) fn carried(&self, chain: &Chain) -> Vec<ExactBytes> {
        self.lacks(chain)
            .map(|certificate| ExactBytes(certificate.der().to_vec()))
            .collect()
    }
}
