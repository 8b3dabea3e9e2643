//! What a verifier holds: roots, CAs with their CRLs, BrandCRLIdentifiers, marks, chains found good.

use std::collections::{HashMap, HashSet, VecDeque};

use openset_jose::Thumbprint;

use crate::cache::{KnownLeaves, Recent, Window};
use crate::walk::Path;
use crate::{
    BrandCrlIdentifier, BrandId, CHAIN_LENGTH_MAX, Certificate, Crl, PathError, Role, TrustAnchor,
};

/// The most verified leaves that a verifier remembers.
pub const KNOWN_CHAINS_MAX: usize = 4096;

/// The most OCSP responses that a verifier remembers.
pub const KNOWN_RESPONSES_MAX: usize = 4096;

/// The most certificates that are marked as revoked.
pub const REVOKED_MARKS_MAX: usize = 65_536;

/// A CA: its name and the SHA-256 of its key. Two CAs of one name do not speak for each other.
type CaKey = (Vec<u8>, Thumbprint);

#[derive(Debug)]
pub(super) struct State {
    /// The pinned one first, each before its successor; no two of one name.
    pub(super) roots: Vec<TrustAnchor>,
    authorities: HashMap<CaKey, HeldAuthority>,
    bcis: HashMap<BrandId, HeldBci>,
    marks: RevokedMarks,
    /// Counts the news taken in, so that a chain verified before them is not remembered.
    pub(super) generation: u64,
    pub(super) known: KnownLeaves,
    /// OCSP responses whose signatures were found good.
    pub(super) responses: Recent<()>,
}

/// A CA whose path was verified and whose CRL is held.
#[derive(Debug)]
pub(super) struct HeldAuthority {
    certificate: Certificate,
    /// The CA and those above it, without the root; empty for a root.
    pub(super) chain: Vec<Certificate>,
    pub(super) crl: Crl,
}

#[derive(Debug)]
struct HeldBci {
    bci: BrandCrlIdentifier,
    /// The brand CA that signed it.
    issuer: Certificate,
}

/// Certificates whose revocation was learned elsewhere than from a CRL, the oldest first.
#[derive(Debug, Default)]
struct RevokedMarks {
    order: VecDeque<Thumbprint>,
    all: HashSet<Thumbprint>,
}

/// All that is held about one path at one moment.
pub(super) struct Evidence {
    /// Leaf first, completed with known CAs.
    pub(super) certificates: Vec<Certificate>,
    pub(super) root: TrustAnchor,
    /// The CRL of each link's issuer.
    pub(super) crls: Vec<Option<Crl>>,
    pub(super) bci: Option<BrandCrlIdentifier>,
    /// Whose certificate on the path is marked as revoked.
    pub(super) marked: Option<Role>,
    pub(super) generation: u64,
}

impl State {
    pub(super) fn new(anchor: TrustAnchor) -> Self {
        Self {
            roots: vec![anchor],
            authorities: HashMap::new(),
            bcis: HashMap::new(),
            marks: RevokedMarks::default(),
            generation: 0,
            known: KnownLeaves::new(KNOWN_CHAINS_MAX),
            responses: Recent::new(KNOWN_RESPONSES_MAX),
        }
    }

    pub(super) fn root_named(&self, name_der: &[u8]) -> Option<&TrustAnchor> {
        let named = |root: &&TrustAnchor| root.certificate().subject_der() == name_der;
        self.roots.iter().find(named)
    }

    /// A known CA below the roots.
    pub(super) fn authority(
        &self,
        name_der: &[u8],
        key_identifier: Option<&[u8]>,
    ) -> Option<&HeldAuthority> {
        self.authorities.values().find(|held| {
            let certificate = &held.certificate;
            certificate.subject_der() == name_der
                && !held.chain.is_empty()
                && key_identifier.is_none_or(|id| certificate.key_identifier() == Some(id))
        })
    }

    /// All known CAs below the roots.
    pub(super) fn known_authorities(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities
            .values()
            .filter_map(|held| held.chain.first())
    }

    /// The known CA or root in whose name a certificate was issued.
    pub(super) fn issuer_of(&self, certificate: &Certificate) -> Option<&Certificate> {
        let name = certificate.issuer_der();
        let root = self.root_named(name).map(TrustAnchor::certificate);
        root.or_else(|| {
            self.authority(name, certificate.authority_key_identifier())
                .map(|held| &held.certificate)
        })
    }

    pub(super) fn crl_of(&self, issuer: &Certificate) -> Option<&Crl> {
        self.authorities.get(&key(issuer)).map(|held| &held.crl)
    }

    pub(super) fn put_crl(&mut self, issuer: Certificate, chain: Vec<Certificate>, crl: Crl) {
        // What a revoked brand CA said of CRLs no longer counts, nor does its number stand in anybody's way.
        self.bcis.retain(|_, held| {
            held.issuer.issuer_der() != crl.issuer_der() || !crl.revokes(held.issuer.serial())
        });
        let held = HeldAuthority {
            certificate: issuer,
            chain,
            crl,
        };
        self.authorities.insert(key(&held.certificate), held);
        self.forget();
    }

    /// The CRLs of the roots and of a brand's CAs, each before those of the CAs below.
    pub(super) fn crls_of_brand(&self, brand: &BrandId) -> Vec<Crl> {
        let mut held: Vec<_> = self
            .authorities
            .values()
            .filter(|held| held.certificate.brand().is_none_or(|of| of == brand))
            .collect();
        held.sort_by_key(|held| (held.chain.len(), held.crl.issuer_der()));
        held.into_iter().map(|held| held.crl.clone()).collect()
    }

    pub(super) fn bci_of(&self, brand: &BrandId) -> Option<&BrandCrlIdentifier> {
        self.bcis.get(brand).map(|held| &held.bci)
    }

    pub(super) fn put_bci(&mut self, bci: BrandCrlIdentifier, issuer: Certificate) {
        let held = HeldBci { bci, issuer };
        self.bcis.insert(held.bci.brand().clone(), held);
        self.forget();
    }

    pub(super) fn mark_revoked(&mut self, certificate: &Thumbprint) {
        if !self.marks.insert(certificate) {
            return;
        }
        self.bcis
            .retain(|_, held| held.issuer.thumbprint() != *certificate);
        self.forget();
    }

    fn forget(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.known.clear();
        self.responses.clear();
    }

    /// What is held of a path. Its upper end is completed from the CAs that are known; where that leads to no root,
    /// it stands under the pinned one, which did not issue it.
    pub(super) fn evidence(&self, certificates: &[Certificate], pinned: &TrustAnchor) -> Evidence {
        let certificates = self.completed(certificates);
        let root = certificates
            .last()
            .and_then(|last| self.root_named(last.issuer_der()))
            .unwrap_or(pinned)
            .clone();
        let path = Path {
            certificates: &certificates,
            root: root.certificate(),
        };
        let crls = path
            .links()
            .map(|(_, issuer)| self.crl_of(issuer).cloned())
            .collect();
        let marked = certificates
            .iter()
            .rev()
            .find(|certificate| self.marks.all.contains(&certificate.thumbprint()))
            .map(Certificate::role);
        let brand = certificates.first().and_then(Certificate::brand);
        Evidence {
            crls,
            marked,
            bci: brand.and_then(|brand| self.bci_of(brand)).cloned(),
            generation: self.generation,
            root,
            certificates,
        }
    }

    fn completed(&self, certificates: &[Certificate]) -> Vec<Certificate> {
        let mut path = certificates.to_vec();
        let Some(last) = path.last() else {
            return path;
        };
        if self.root_named(last.issuer_der()).is_some() {
            return path;
        }
        let above = self.authority(last.issuer_der(), last.authority_key_identifier());
        let above = above.map(|held| held.chain.as_slice()).unwrap_or_default();
        if path.len().saturating_add(above.len()) <= CHAIN_LENGTH_MAX {
            path.extend_from_slice(above);
        }
        path
    }
}

impl Evidence {
    pub(super) fn path(&self) -> Path<'_> {
        Path {
            certificates: &self.certificates,
            root: self.root.certificate(),
        }
    }

    /// What CRLs and marks say of a CA's path.
    pub(super) fn check_authority_revocation(&self, now: i64) -> Result<Window, PathError> {
        let window = self.path().check_revocation(&self.crls, now)?;
        match self.marked {
            Some(role) => Err(PathError::Revoked(role)),
            None => Ok(window),
        }
    }

    /// What CRLs, marks and the brand say of a leaf's path.
    pub(super) fn check_revocation(&self, now: i64) -> Result<Window, PathError> {
        let window = self.check_authority_revocation(now)?;
        let brand = self
            .path()
            .check_brand(self.bci.as_ref(), &self.crls, now)?;
        Ok(window.within(brand))
    }
}

impl RevokedMarks {
    /// Whether the certificate was not marked before.
    fn insert(&mut self, certificate: &Thumbprint) -> bool {
        if !self.all.insert(*certificate) {
            return false;
        }
        self.order.push_back(*certificate);
        if self.order.len() > REVOKED_MARKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

fn key(issuer: &Certificate) -> CaKey {
    (issuer.subject_der().to_vec(), issuer.key_thumbprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_mark_makes_room_when_there_are_too_many() {
        let mut marks = RevokedMarks::default();
        let mark = |number: usize| Thumbprint::of(&number.to_be_bytes());
        for number in 0..=REVOKED_MARKS_MAX {
            assert!(marks.insert(&mark(number)));
            assert!(!marks.insert(&mark(number)));
        }
        assert_eq!(marks.all.len(), REVOKED_MARKS_MAX);
        assert_eq!(marks.order.len(), REVOKED_MARKS_MAX);
        assert!(!marks.all.contains(&mark(0)));
        assert!(marks.all.contains(&mark(1)));
    }
}
