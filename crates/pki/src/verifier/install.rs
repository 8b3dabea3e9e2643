//! Takes in CRLs and BrandCRLIdentifiers.

use std::cmp::Ordering;

use super::PathVerifier;
use super::held::{Evidence, Held, HeldAuthority, Hit};
use crate::walk::{check_bci_freshness, check_freshness};
use crate::{BrandCrlIdentifier, Certificate, Chain, Crl, PathError, Role, TrustAnchor};

/// How far the number of a CRL or BrandCRLIdentifier may be ahead of the seconds since 1970. CAs count with the
/// clock; whoever could set a number far ahead would stop all that come after it.
pub const NUMBER_AHEAD_MAX: i64 = 86_400;

/// Whose CRL it is.
#[derive(Clone, Copy, Debug)]
pub enum CrlIssuer<'a> {
    /// The root's of the name that stands in the CRL.
    Root,
    /// That of the CA whose certificate is the first of this chain.
    Chain(&'a Chain),
}

/// What became of a CRL or a BrandCRLIdentifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is held from now on.
    Newer,
    /// It was held already.
    Known,
}

/// What is held, about to be changed, and whom the changes concern.
pub(super) struct Draft {
    pub(super) held: Held,
    pub(super) hits: Vec<Hit>,
}

impl PathVerifier {
    /// Takes in a CA's CRL, after verifying the CA's own path and the CRL's signature and dates. Start with the
    /// root's and go down: a CA's path needs the CRLs of the CAs above it.
    ///
    /// A CRL with a higher number than the one held takes its place and drops what is remembered of chains below
    /// its CA; a lower one is refused. From then on the CA is known: chains that end with what it issued are
    /// completed. One that is out of date is refused, too, but if it is genuine its number counts from then on: no
    /// older one takes its place, and nothing below the CA passes before a newer one has come.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "cheap to clone, and the verifier keeps it"
    )]
    pub fn install_crl(
        &self,
        crl: Crl,
        issuer: CrlIssuer<'_>,
        now: i64,
    ) -> Result<Installed, PathError> {
        let chain = match issuer {
            CrlIssuer::Root => &[],
            CrlIssuer::Chain(chain) => chain.certificates(),
        };
        self.change(|draft| self.accept_crl(draft, &crl, chain, now))
    }

    /// Takes in a brand's BrandCRLIdentifier, after verifying the path of the brand CA, whose chain is handed in, and
    /// the signature and dates. A higher sequence number than that of the same brand CA which is held takes its
    /// place and drops what is remembered of the brand's chains; a lower one is refused, whether or not the one held
    /// has run out.
    ///
    /// It takes effect when of every CA that it names and that is known, a CRL is held that is not behind it. Until
    /// then the one before it goes on counting, though not beyond its own last second.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "cheap to clone, and the verifier keeps it"
    )]
    pub fn install_brand_crl_identifier(
        &self,
        bci: BrandCrlIdentifier,
        brand_ca: &Chain,
        now: i64,
    ) -> Result<Installed, PathError> {
        self.change(|draft| self.accept_bci(draft, &bci, brand_ca.certificates(), now))
    }

    /// Makes a change of what is held, wholly or not at all: from what is held now, again if that was changed
    /// meanwhile.
    pub(super) fn change<T>(
        &self,
        make: impl Fn(&mut Draft) -> Result<T, PathError>,
    ) -> Result<T, PathError> {
        loop {
            let (mut draft, generation) = {
                let state = self.state();
                let draft = Draft {
                    held: state.held.clone(),
                    hits: Vec::new(),
                };
                (draft, state.generation)
            };
            let outcome = make(&mut draft);
            let counts = outcome.as_ref().err().is_none_or(is_out_of_date);
            if !counts || draft.hits.is_empty() {
                return outcome;
            }
            let mut state = self.state();
            if state.generation == generation {
                state.held = draft.held;
                state.forget(&draft.hits);
                return outcome;
            }
        }
    }

    /// The chain of a root is empty.
    pub(super) fn accept_crl(
        &self,
        draft: &mut Draft,
        crl: &Crl,
        chain: &[Certificate],
        now: i64,
    ) -> Result<Installed, PathError> {
        let held = &mut draft.held;
        let evidence = if chain.is_empty() {
            let root = held.root_named(crl.issuer_der()).unwrap_or(&self.anchor);
            held.evidence_under(Vec::new(), root, now)
        } else {
            held.evidence(chain, &self.anchor, now)
        };
        let issuer = chain.first().unwrap_or(evidence.root.certificate()).clone();
        if crl.issuer_der() != issuer.subject_der() {
            return Err(PathError::CrlOfAnother(issuer.role()));
        }
        if is_far_ahead(crl.number(), now) {
            return Err(PathError::NumberAhead {
                number: crl.number(),
            });
        }
        let fresh = check_freshness(crl, &issuer, now);
        refuse_unless_out_of_date(&fresh)?;
        if compare_crls(held.crl_of(&issuer), crl)? == Installed::Known {
            return fresh.map(|()| Installed::Known);
        }
        let above = self.verify_authority(&evidence, &issuer, now)?;
        if !self.signatures.crl(crl, &issuer) {
            return Err(PathError::CrlForged(issuer.role()));
        }
        draft.hits.extend(held.put_crl(HeldAuthority {
            certificate: issuer,
            chain: evidence.certificates,
            crl: crl.clone(),
        })?);
        above.and(fresh).map(|()| Installed::Newer)
    }

    pub(super) fn accept_bci(
        &self,
        draft: &mut Draft,
        bci: &BrandCrlIdentifier,
        brand_ca: &[Certificate],
        now: i64,
    ) -> Result<Installed, PathError> {
        let held = &mut draft.held;
        let is_brands_own = |issuer: &&Certificate| {
            issuer.role() == Role::BrandCa
                && issuer.brand() == Some(bci.brand())
                && issuer.subject_der() == bci.issuer_der()
        };
        let of_another = || PathError::BciOfAnother(bci.brand().clone());
        let issuer = brand_ca
            .first()
            .filter(is_brands_own)
            .ok_or_else(of_another)?;
        let mut numbers = bci.crls().iter().map(|named| named.number);
        let far_ahead = std::iter::once(bci.sequence())
            .chain(&mut numbers)
            .find(|&number| is_far_ahead(number, now));
        if let Some(number) = far_ahead {
            return Err(PathError::NumberAhead { number });
        }
        let fresh = check_bci_freshness(bci, now);
        refuse_unless_out_of_date(&fresh)?;
        if held.compare_bci(issuer, bci)? == Installed::Known {
            return fresh.map(|()| Installed::Known);
        }
        let evidence = held.evidence(brand_ca, &self.anchor, now);
        let above = self.verify_authority(&evidence, issuer, now)?;
        if !self.signatures.brand_crl_identifier(bci, issuer) {
            return Err(PathError::BciForged(bci.brand().clone()));
        }
        draft.hits.extend(held.put_bci(bci.clone(), issuer.clone()));
        above.and(fresh).map(|()| Installed::Newer)
    }

    /// Verifies the path of a CA, which webpki does for leaves alone. What is out of date above it is given apart:
    /// what the CA itself says must not be forgotten for that.
    fn verify_authority(
        &self,
        evidence: &Evidence,
        authority: &Certificate,
        now: i64,
    ) -> Result<Result<(), PathError>, PathError> {
        if !authority.is_authority() {
            return Err(PathError::LeafAsCa(authority.role()));
        }
        let path = evidence.path();
        path.check_structure()?;
        evidence.check_validity(now)?;
        if !path
            .links()
            .all(|(subject, issuer)| self.signatures.certificate(subject, issuer))
        {
            return Err(PathError::BadSignature);
        }
        let revocation = evidence.check_authority_revocation(now).map(drop);
        refuse_unless_out_of_date(&revocation)?;
        Ok(revocation)
    }
}

/// Whether a genuine CRL or BrandCRLIdentifier, or one above it, has run out.
pub(super) fn is_out_of_date(error: &PathError) -> bool {
    matches!(error, PathError::CrlStale(_) | PathError::BciStale(_))
}

fn refuse_unless_out_of_date(outcome: &Result<(), PathError>) -> Result<(), PathError> {
    match outcome {
        Err(error) if !is_out_of_date(error) => Err(error.clone()),
        _ => Ok(()),
    }
}

fn is_far_ahead(number: u64, now: i64) -> bool {
    let limit = u64::try_from(now.saturating_add(NUMBER_AHEAD_MAX));
    number > limit.unwrap_or_default()
}

/// Whether a CRL is newer than the one held.
fn compare_crls(held: Option<&Crl>, offered: &Crl) -> Result<Installed, PathError> {
    let Some(held) = held else {
        return Ok(Installed::Newer);
    };
    match offered.number().cmp(&held.number()) {
        Ordering::Greater => Ok(Installed::Newer),
        Ordering::Equal if offered.der() == held.der() => Ok(Installed::Known),
        Ordering::Equal => Err(PathError::CrlNumberReused {
            number: held.number(),
        }),
        Ordering::Less => Err(PathError::CrlOlder {
            held: held.number(),
            offered: offered.number(),
        }),
    }
}

impl Held {
    /// The chain of the known CA that a CRL is of, empty for a root.
    pub(super) fn chain_of_crl(&self, crl: &Crl) -> Option<Vec<Certificate>> {
        let is_named = |root: &TrustAnchor| root.certificate().subject_der() == crl.issuer_der();
        if self.roots.iter().any(is_named) {
            return Some(Vec::new());
        }
        let held = self.authority(crl.issuer_der(), crl.authority_key_identifier())?;
        Some(held.chain.clone())
    }
}
