//! What a verifier holds: roots, CAs with their CRLs, BrandCRLIdentifiers and marks; and what it remembers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use openset_jose::Thumbprint;

use super::bcis::HeldBcis;
use crate::cache::{Footing, KnownLeaves, Recent, Window};
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

/// The most CAs whose CRLs are held.
pub const KNOWN_AUTHORITIES_MAX: usize = 1024;

/// How long a root is still trusted after its successor's validity has begun: the time in which everything below it
/// has to be renewed.
pub const ROOT_OVERLAP_S: i64 = 400 * 86_400;

/// A CA: its name and the SHA-256 of its key. Two CAs of one name do not speak for each other.
pub(super) type CaKey = (Vec<u8>, Thumbprint);

#[derive(Debug)]
pub(super) struct State {
    pub(super) held: Held,
    /// Counts the news taken in, so that nothing that was verified before them is taken for verified after them.
    pub(super) generation: u64,
    pub(super) known: KnownLeaves,
    /// OCSP responses whose signatures were found good.
    pub(super) responses: Recent<()>,
}

/// Everything that verdicts rest on. Cheap to clone: what is large is shared.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The pinned one first, each before its successor; no two of one name or of one key.
    pub(super) roots: Vec<TrustAnchor>,
    pub(super) authorities: HashMap<CaKey, HeldAuthority>,
    pub(super) bcis: HashMap<CaKey, HeldBcis>,
    marks: Arc<RevokedMarks>,
}

/// A CA whose path was verified and whose CRL is held.
#[derive(Clone, Debug)]
pub(super) struct HeldAuthority {
    pub(super) certificate: Certificate,
    /// The CA and those above it, without the root; empty for a root.
    pub(super) chain: Vec<Certificate>,
    pub(super) crl: Crl,
}

/// Which remembered leaves a piece of news concerns.
#[derive(Debug)]
pub(super) enum Hit {
    /// All of them.
    All,
    /// Those below the CA or root of this key.
    Key(Thumbprint),
    /// Those on whose path this certificate stands.
    Certificate(Thumbprint),
    /// Those of this brand.
    Brand(BrandId),
}

/// Certificates whose revocation was learned elsewhere than from a CRL, the oldest first.
#[derive(Clone, Debug, Default)]
struct RevokedMarks {
    order: VecDeque<Thumbprint>,
    all: HashSet<Thumbprint>,
}

/// All that is held about one path at one moment.
pub(super) struct Evidence {
    /// Leaf first, completed with known CAs.
    pub(super) certificates: Vec<Certificate>,
    pub(super) root: TrustAnchor,
    /// The last second in which the root is trusted.
    root_until: i64,
    /// The CRL of each link's issuer.
    pub(super) crls: Vec<Option<Crl>>,
    bci: Option<BrandCrlIdentifier>,
    /// Whose certificate on the path is marked as revoked.
    marked: Option<Role>,
}

impl State {
    pub(super) fn new(anchor: TrustAnchor) -> Self {
        Self {
            held: Held {
                roots: vec![anchor],
                authorities: HashMap::new(),
                bcis: HashMap::new(),
                marks: Arc::default(),
            },
            generation: 0,
            known: KnownLeaves::new(KNOWN_CHAINS_MAX),
            responses: Recent::new(KNOWN_RESPONSES_MAX),
        }
    }

    pub(super) fn mark_revoked(&mut self, certificate: &Thumbprint) {
        if !Arc::make_mut(&mut self.held.marks).insert(certificate) {
            return;
        }
        let mut hits = vec![Hit::Certificate(*certificate)];
        hits.extend(
            self.held
                .drop_bcis(|issuer| issuer.thumbprint() == *certificate),
        );
        self.forget(&hits);
    }

    /// Forgets the leaves that news concern.
    pub(super) fn forget(&mut self, hits: &[Hit]) {
        self.generation = self.generation.wrapping_add(1);
        self.known
            .retain(|leaf, path| !hits.iter().any(|hit| hit.concerns(leaf, path)));
    }
}

impl Hit {
    fn concerns(&self, leaf: &Certificate, path: &[Footing]) -> bool {
        match self {
            Hit::All => true,
            Hit::Key(key) => path.iter().any(|footing| footing.key == *key),
            Hit::Certificate(one) => path.iter().any(|footing| footing.certificate == *one),
            Hit::Brand(brand) => leaf.brand() == Some(brand),
        }
    }
}

impl Held {
    pub(super) fn root_named(&self, name_der: &[u8]) -> Option<&TrustAnchor> {
        let named = |root: &&TrustAnchor| root.certificate().subject_der() == name_der;
        self.roots.iter().find(named)
    }

    /// The last second in which a root is trusted.
    pub(super) fn root_until(&self, root: &Thumbprint) -> Option<i64> {
        let mut from_it = self
            .roots
            .iter()
            .skip_while(|held| held.thumbprint() != *root);
        let not_after = from_it.next()?.certificate().not_after();
        Some(from_it.next().map_or(not_after, |successor| {
            let begins = successor.certificate().not_before();
            not_after.min(begins.saturating_add(ROOT_OVERLAP_S))
        }))
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
        self.authorities.get(&ca_key(issuer)).map(|held| &held.crl)
    }

    /// Takes in a CRL that was verified; says whom it concerns.
    pub(super) fn put_crl(&mut self, held: HeldAuthority) -> Result<Vec<Hit>, PathError> {
        let key = ca_key(&held.certificate);
        if self.authorities.len() >= KNOWN_AUTHORITIES_MAX && !self.authorities.contains_key(&key) {
            return Err(PathError::TooManyAuthorities);
        }
        // What a revoked brand CA said of CRLs no longer counts, nor does its number stand in anybody's way.
        let dropped = self.drop_bcis(|issuer| {
            issuer.issuer_der() == held.crl.issuer_der() && held.crl.revokes(issuer.serial())
        });
        let mut hits = vec![Hit::Key(key.1)];
        hits.extend(dropped);
        self.authorities.insert(key, held);
        hits.extend(self.bring_into_effect().into_iter().map(Hit::Brand));
        Ok(hits)
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

    /// What is held of a path. Its upper end is completed from the CAs that are known; where that leads to no root,
    /// it stands under the pinned one, which did not issue it.
    pub(super) fn evidence(
        &self,
        certificates: &[Certificate],
        pinned: &TrustAnchor,
        now: i64,
    ) -> Evidence {
        let certificates = self.completed(certificates);
        let root = certificates
            .last()
            .and_then(|last| self.root_named(last.issuer_der()))
            .unwrap_or(pinned);
        self.evidence_under(certificates, root, now)
    }

    /// What is held of a path under this root; an empty one is the root's own.
    pub(super) fn evidence_under(
        &self,
        certificates: Vec<Certificate>,
        root: &TrustAnchor,
        now: i64,
    ) -> Evidence {
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
        Evidence {
            crls,
            marked,
            bci: self.bci_for(&certificates, now).cloned(),
            root_until: self
                .root_until(&root.thumbprint())
                .unwrap_or_else(|| root.certificate().not_after()),
            root: root.clone(),
            certificates,
        }
    }

    pub(super) fn completed(&self, certificates: &[Certificate]) -> Vec<Certificate> {
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

    /// Every certificate on the path, the root's included.
    pub(super) fn footings(&self) -> Vec<Footing> {
        let path = self.certificates.iter().chain([self.root.certificate()]);
        path.map(Footing::of).collect()
    }

    /// The validity of every certificate, and whether the root has not been succeeded for too long.
    pub(super) fn check_validity(&self, now: i64) -> Result<Window, PathError> {
        let window = self.path().check_validity(now)?;
        if now > self.root_until {
            return Err(PathError::Expired(Role::RootCa));
        }
        Ok(window.and(i64::MIN, self.root_until))
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

pub(super) fn ca_key(issuer: &Certificate) -> CaKey {
    (issuer.subject_der().to_vec(), issuer.key_thumbprint())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

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

    #[test]
    fn no_more_cas_are_known_than_the_limit() {
        let root = crate::test_pki::root(0);
        let der = root.certificate().der();
        let anchor = TrustAnchor::pinned(der, &openset_jose::sha256(der)).unwrap();
        let mut held = State::new(anchor).held;
        let one = HeldAuthority {
            certificate: root.certificate().clone(),
            chain: Vec::new(),
            crl: root.issue_crl(1, 0, 1000, &[]).unwrap(),
        };
        for number in 1..KNOWN_AUTHORITIES_MAX {
            let key = Thumbprint::of(&number.to_be_bytes());
            held.authorities.insert((Vec::new(), key), one.clone());
        }
        held.put_crl(one.clone()).unwrap();
        held.put_crl(one.clone()).unwrap();
        let other = held.authorities.remove(&ca_key(&one.certificate)).unwrap();
        held.authorities
            .insert((Vec::new(), Thumbprint::of(b"one more")), other);
        assert_eq!(
            held.put_crl(one).map(|_| ()),
            Err(PathError::TooManyAuthorities)
        );
    }
}
