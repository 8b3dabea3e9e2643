//! The BrandCRLIdentifiers that are held: those of each brand CA for itself.

use std::cmp::Ordering;

use super::held::{Held, Hit, ca_key};
use super::install::Installed;
use crate::{BrandCrlIdentifier, BrandId, Certificate, PathError, Role};

/// The newest BrandCRLIdentifiers of one brand CA, of which each has a sequence of its own.
#[derive(Clone, Debug)]
pub(super) struct HeldBcis {
    /// The brand CA that signed them.
    pub(super) issuer: Certificate,
    /// The newest one whose CRLs are all held.
    active: Option<BrandCrlIdentifier>,
    /// A newer one that names CRLs which are not held yet.
    pending: Option<BrandCrlIdentifier>,
}

impl HeldBcis {
    /// The one that counts. One that waits for CRLs stands back until the one before it has run out: whoever holds
    /// back a CRL can delay it, but not longer than that.
    fn in_effect(&self, now: i64) -> Option<&BrandCrlIdentifier> {
        let active = self.active.as_ref();
        active
            .filter(|active| now <= active.not_after())
            .or(self.pending.as_ref())
            .or(active)
    }

    fn newest(&self) -> Option<&BrandCrlIdentifier> {
        self.pending.as_ref().or(self.active.as_ref())
    }

    fn brand(&self) -> Option<&BrandId> {
        self.issuer.brand()
    }
}

impl Held {
    /// Compares one that is offered with the newest of the same brand CA, whether in effect or not.
    pub(super) fn compare_bci(
        &self,
        issuer: &Certificate,
        offered: &BrandCrlIdentifier,
    ) -> Result<Installed, PathError> {
        let held = self.bcis.get(&ca_key(issuer)).and_then(HeldBcis::newest);
        let Some(held) = held else {
            return Ok(Installed::Newer);
        };
        match offered.sequence().cmp(&held.sequence()) {
            Ordering::Greater => Ok(Installed::Newer),
            Ordering::Equal if offered == held => Ok(Installed::Known),
            Ordering::Equal => Err(PathError::BciSequenceReused {
                sequence: held.sequence(),
            }),
            Ordering::Less => Err(PathError::BciOlder {
                held: held.sequence(),
                offered: offered.sequence(),
            }),
        }
    }

    /// Takes in one that was verified; says whom it concerns.
    pub(super) fn put_bci(&mut self, bci: BrandCrlIdentifier, issuer: Certificate) -> Vec<Hit> {
        let hits = vec![Hit::Brand(bci.brand().clone())];
        let held = self
            .bcis
            .entry(ca_key(&issuer))
            .or_insert_with(|| HeldBcis {
                issuer,
                active: None,
                pending: None,
            });
        held.pending = Some(bci);
        self.bring_into_effect();
        hits
    }

    /// Brings into effect what waited for CRLs that have come; gives the brands.
    pub(super) fn bring_into_effect(&mut self) -> Vec<BrandId> {
        let complete: Vec<_> = self
            .bcis
            .iter()
            .filter(|(_, held)| held.pending.as_ref().is_some_and(|bci| self.has_all(bci)))
            .map(|(key, _)| key.clone())
            .collect();
        let mut brands = Vec::with_capacity(complete.len());
        for key in complete {
            if let Some(held) = self.bcis.get_mut(&key) {
                held.active = held.pending.take();
                brands.extend(held.brand().cloned());
            }
        }
        brands
    }

    /// Drops those of revoked brand CAs; says whom it concerns. Not only paths below such a CA: it may have spoken for
    /// those of another generation.
    pub(super) fn drop_bcis(&mut self, is_revoked: impl Fn(&Certificate) -> bool) -> Vec<Hit> {
        let mut hits = Vec::new();
        self.bcis.retain(|_, held| {
            let stays = !is_revoked(&held.issuer);
            if !stays {
                hits.extend(held.brand().cloned().map(Hit::Brand));
            }
            stays
        });
        hits
    }

    /// Whether the CRLs that it names of known CAs are held.
    fn has_all(&self, bci: &BrandCrlIdentifier) -> bool {
        self.authorities.values().all(|held| {
            bci.number_of(held.crl.issuer_der())
                .is_none_or(|named| held.crl.number() >= named)
        })
    }

    /// The newest one of a brand that is in effect as soon as its dates allow.
    pub(super) fn bci_of(&self, brand: &BrandId) -> Option<&BrandCrlIdentifier> {
        let of_brand = self
            .bcis
            .values()
            .filter(|held| held.brand() == Some(brand));
        of_brand
            .filter_map(|held| held.active.as_ref())
            .max_by_key(age)
    }

    /// Every one of a brand that is held, in effect or waiting.
    pub(super) fn bcis_of(&self, brand: &BrandId) -> Vec<BrandCrlIdentifier> {
        let of_brand = self
            .bcis
            .values()
            .filter(|held| held.brand() == Some(brand));
        let mut all: Vec<_> = of_brand
            .flat_map(|held| held.active.iter().chain(&held.pending))
            .cloned()
            .collect();
        all.sort_by_key(|bci| age(&bci));
        all
    }

    /// The one by which a path is judged: that of the brand CA on it. Where that CA speaks no more, because a later
    /// generation took its place, the newest one of the brand's other CAs.
    pub(super) fn bci_for(
        &self,
        certificates: &[Certificate],
        now: i64,
    ) -> Option<&BrandCrlIdentifier> {
        let brand = certificates.first()?.brand()?;
        let is_good = |bci: &&BrandCrlIdentifier| now <= bci.not_after();
        let brand_ca = certificates.iter().find(|ca| ca.role() == Role::BrandCa);
        let own = brand_ca
            .and_then(|ca| self.bcis.get(&ca_key(ca)))
            .and_then(|held| held.in_effect(now));
        let of_brand = self
            .bcis
            .values()
            .filter(|held| held.brand() == Some(brand));
        let in_effect = of_brand.filter_map(|held| held.in_effect(now));
        own.filter(is_good)
            .or_else(|| in_effect.max_by_key(age))
            .or(own)
    }
}

/// Orders BrandCRLIdentifiers of several CAs, whose numbers do not compare.
fn age(bci: &&BrandCrlIdentifier) -> (i64, u64) {
    (bci.not_after(), bci.sequence())
}
