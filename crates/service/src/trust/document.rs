//! `GET /trust` of the certificate authority.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openset_pki::{BrandCrlIdentifier, BrandId, Certificate, Chain, Role};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{Authority, TrustError};
use crate::client::{self, HttpClient};

/// Every CA with its chain and CRL, parents first. Nothing in it is believed but by its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDocument {
    /// The roots' certificates, base64 of DER: the oldest first, each before its successor.
    pub roots: Vec<String>,
    /// All CAs, parents before children; the roots are the first.
    pub authorities: Vec<AuthorityEntry>,
    /// Every brand.
    pub brands: Vec<BrandEntry>,
}

/// One brand in the trust document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrandEntry {
    /// Its name.
    pub brand: BrandId,
    /// Its current BrandCRLIdentifier, base64 of DER.
    pub brand_crl_identifier: String,
}

/// One CA in the trust document. Certificates and CRLs are base64 of DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityEntry {
    /// Its name in `/crl/{id}`.
    pub id: String,
    /// [`Role::name`].
    pub role: String,
    /// The brand that it issues for; none for the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<BrandId>,
    /// The region that it is for, by its name in URLs; none for roots and brand CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether a newer generation issues in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
    /// Its chain, itself first, without the root; empty for the root.
    pub chain: Vec<String>,
    /// Its current CRL.
    pub crl: String,
    /// Chain of its message-signature certificate, for issuing CAs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub message_signature: Vec<String>,
    /// Chain of its key-exchange certificate, for issuing CAs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_exchange: Vec<String>,
}

impl TrustDocument {
    /// Begins a document with the root and its CRL.
    #[must_use]
    pub fn new(root_der: &[u8], id: &str, crl_der: &[u8]) -> Self {
        Self {
            roots: vec![STANDARD.encode(root_der)],
            authorities: vec![AuthorityEntry::root(id, crl_der)],
            brands: Vec::new(),
        }
    }

    /// Adds the root after the last one, with its CRL.
    pub fn add_root(&mut self, root_der: &[u8], id: &str, crl_der: &[u8]) {
        self.roots.push(STANDARD.encode(root_der));
        self.authorities.push(AuthorityEntry::root(id, crl_der));
    }

    /// The same document with these roots.
    pub(super) fn with_roots(&self, roots: &[Certificate]) -> Self {
        let roots = roots.iter().map(|root| STANDARD.encode(root.der()));
        Self {
            roots: roots.collect(),
            ..self.clone()
        }
    }

    pub(super) fn roots_der(&self) -> Result<Vec<Vec<u8>>, TrustError> {
        self.roots.iter().map(|root| der(root)).collect()
    }
}

impl BrandEntry {
    /// The entry of the brand that this is of.
    #[must_use]
    pub fn new(bci: &BrandCrlIdentifier) -> Self {
        Self {
            brand: bci.brand().clone(),
            brand_crl_identifier: STANDARD.encode(bci.der()),
        }
    }

    pub(super) fn read(&self) -> Result<BrandCrlIdentifier, TrustError> {
        let bci = BrandCrlIdentifier::from_der(&der(&self.brand_crl_identifier)?)
            .map_err(|error| TrustError::Document(error.to_string()))?;
        if *bci.brand() != self.brand {
            return Err(TrustError::Document(format!(
                "the BrandCRLIdentifier of {} is of another brand",
                self.brand
            )));
        }
        Ok(bci)
    }
}

impl AuthorityEntry {
    fn root(id: &str, crl_der: &[u8]) -> Self {
        Self {
            id: id.to_owned(),
            role: Role::RootCa.name().to_owned(),
            brand: None,
            region: None,
            retired: false,
            chain: Vec::new(),
            crl: STANDARD.encode(crl_der),
            message_signature: Vec::new(),
            key_exchange: Vec::new(),
        }
    }

    /// The entry of a CA below the root.
    #[must_use]
    pub fn new(id: &str, chain: &Chain, crl_der: &[u8]) -> Self {
        Self {
            id: id.to_owned(),
            role: chain.leaf().role().name().to_owned(),
            brand: chain.leaf().brand().cloned(),
            region: None,
            retired: false,
            chain: encode(chain),
            crl: STANDARD.encode(crl_der),
            message_signature: Vec::new(),
            key_exchange: Vec::new(),
        }
    }

    /// With an issuing CA's own message certificates.
    #[must_use]
    pub fn with_own(mut self, message_signature: &Chain, key_exchange: &Chain) -> Self {
        self.message_signature = encode(message_signature);
        self.key_exchange = encode(key_exchange);
        self
    }

    pub(super) fn crl_der(&self) -> Result<Vec<u8>, TrustError> {
        der(&self.crl)
    }

    /// The entry's certificates, not yet verified; role and brand are those of its certificate.
    pub(super) fn read(&self) -> Result<Authority, TrustError> {
        let chain = chain(&self.chain)?;
        let (role, brand) = match &chain {
            Some(chain) => (chain.leaf().role(), chain.leaf().brand().cloned()),
            None => (Role::RootCa, None),
        };
        if role.name() != self.role || brand != self.brand {
            return Err(TrustError::Document(format!(
                "{} is not of the role and brand that its certificate has",
                self.id
            )));
        }
        Ok(Authority {
            id: self.id.clone(),
            role,
            brand,
            region: self.region.clone(),
            retired: self.retired,
            chain,
            message_signature: self::chain(&self.message_signature)?,
            key_exchange: self::chain(&self.key_exchange)?,
        })
    }
}

/// Fetches the document of the CA.
pub(super) async fn fetch(client: &HttpClient, ca_url: &Url) -> Result<TrustDocument, TrustError> {
    let url = client::join(ca_url, "trust");
    Ok(client.get_json(&url, None).await?)
}

/// The pinned one of these roots.
pub(super) fn pinned<'a>(
    roots: &'a [Vec<u8>],
    ca_url: &Url,
    pinned: &[u8; 32],
) -> Result<&'a [u8], TrustError> {
    let mut found = "none".to_owned();
    for root in roots {
        let digest = openset_jose::sha256(root);
        if digest == *pinned {
            return Ok(root);
        }
        found = hex::encode(digest);
    }
    Err(TrustError::RootMismatch {
        url: ca_url.to_string(),
        found,
        pinned: hex::encode(pinned),
    })
}

/// The document as last kept; a damaged one counts as none.
pub(super) fn kept(path: &Path) -> Option<TrustDocument> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Replaces the kept document in one step, so that a crash leaves the old one or the new.
pub(super) fn keep(path: &Path, document: &TrustDocument) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec(document)?)?;
    fs::rename(beside, path)
}

fn encode(chain: &Chain) -> Vec<String> {
    chain
        .to_x5c()
        .iter()
        .map(|der| STANDARD.encode(der))
        .collect()
}

fn chain(encoded: &[String]) -> Result<Option<Chain>, TrustError> {
    if encoded.is_empty() {
        return Ok(None);
    }
    let x5c = encoded
        .iter()
        .map(|text| der(text))
        .collect::<Result<Vec<_>, _>>()?;
    let chain = Chain::from_x5c(&x5c).map_err(|error| TrustError::Document(error.to_string()))?;
    Ok(Some(chain))
}

fn der(text: &str) -> Result<Vec<u8>, TrustError> {
    STANDARD
        .decode(text)
        .map_err(|error| TrustError::Document(format!("not base64: {error}")))
}
