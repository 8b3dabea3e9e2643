//! Takes in CRLs and BrandCRLIdentifiers.

use std::cmp::Ordering;

use super::PathVerifier;
use super::held::Evidence;
use crate::walk::{check_bci_freshness, check_freshness};
use crate::{BrandCrlIdentifier, Certificate, Chain, Crl, PathError, Role};

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

impl PathVerifier {
    /// Takes in a CA's CRL, after verifying the CA's own path and the CRL's signature and dates. Start with the
    /// root's and go down: a CA's path needs the CRLs of the CAs above it.
    ///
    /// A CRL with a higher number than the one held takes its place and drops what is remembered of chains; a
    /// lower one is refused. From then on the CA is known: chains that end with what it issued are completed.
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
        self.install_crl_of(crl, chain, now)
    }

    /// As [`Self::install_crl`]; the chain of a root is empty.
    fn install_crl_of(
        &self,
        crl: Crl,
        chain: &[Certificate],
        now: i64,
    ) -> Result<Installed, PathError> {
        let (evidence, issuer, held) = {
            let state = self.state();
            let evidence = state.evidence(chain, &self.anchor);
            let issuer = match chain.first() {
                Some(first) => first,
                None => state
                    .root_named(crl.issuer_der())
                    .unwrap_or(&self.anchor)
                    .certificate(),
            };
            (evidence, issuer.clone(), state.crl_of(issuer).cloned())
        };
        if crl.issuer_der() != issuer.subject_der() {
            return Err(PathError::CrlOfAnother(issuer.role()));
        }
        check_freshness(&crl, &issuer, now)?;
        if compare_crls(held.as_ref(), &crl)? == Installed::Known {
            return Ok(Installed::Known);
        }
        self.verify_authority(&evidence, &issuer, now)?;
        if !self.signatures.crl(&crl, &issuer) {
            return Err(PathError::CrlForged(issuer.role()));
        }
        let mut state = self.state();
        let outcome = compare_crls(state.crl_of(&issuer), &crl)?;
        if outcome == Installed::Newer {
            state.put_crl(issuer, evidence.certificates, crl);
        }
        Ok(outcome)
    }

    /// Takes in a brand's BrandCRLIdentifier, after verifying the path of the brand CA, whose chain is handed in, and
    /// the signature and dates. A higher sequence number than the one held takes its place and drops what is
    /// remembered of chains; a lower one is refused.
    pub fn install_brand_crl_identifier(
        &self,
        bci: BrandCrlIdentifier,
        brand_ca: &Chain,
        now: i64,
    ) -> Result<Installed, PathError> {
        let issuer = brand_ca.leaf();
        let is_brands_own = issuer.role() == Role::BrandCa
            && issuer.brand() == Some(bci.brand())
            && issuer.subject_der() == bci.issuer_der();
        if !is_brands_own {
            return Err(PathError::BciOfAnother(bci.brand().clone()));
        }
        check_bci_freshness(&bci, now)?;
        let evidence = {
            let state = self.state();
            if compare_bcis(state.bci_of(bci.brand()), &bci)? == Installed::Known {
                return Ok(Installed::Known);
            }
            state.evidence(brand_ca.certificates(), &self.anchor)
        };
        self.verify_authority(&evidence, issuer, now)?;
        if !self.signatures.brand_crl_identifier(&bci, issuer) {
            return Err(PathError::BciForged(bci.brand().clone()));
        }
        let mut state = self.state();
        let outcome = compare_bcis(state.bci_of(bci.brand()), &bci)?;
        if outcome == Installed::Newer {
            // The brand CA may have been revoked meanwhile.
            let evidence = state.evidence(brand_ca.certificates(), &self.anchor);
            evidence.check_authority_revocation(now)?;
            state.put_bci(bci, issuer.clone());
        }
        Ok(outcome)
    }

    /// Takes in what came with a message, and says how much of it was news. What is of no use is passed over: CRLs of
    /// CAs that are not known or no longer good, and what is older than what is held or out of date. What is
    /// malformed or forged is refused.
    pub fn learn(
        &self,
        crls: &[Vec<u8>],
        bci: Option<&[u8]>,
        now: i64,
    ) -> Result<usize, PathError> {
        let mut of_known = Vec::with_capacity(crls.len());
        for der in crls {
            let crl = Crl::from_der(der)?;
            of_known.extend(self.chain_of_crl(&crl).map(|chain| (chain, crl)));
        }
        of_known.sort_by_key(|(chain, _)| chain.len());
        let mut news = 0_usize;
        let mut count = |installed| match installed {
            Ok(Installed::Newer) => {
                news = news.saturating_add(1);
                Ok(())
            }
            Ok(Installed::Known) => Ok(()),
            Err(error) if is_of_no_use(&error) => Ok(()),
            Err(error) => Err(error),
        };
        for (chain, crl) in of_known {
            count(self.install_crl_of(crl, &chain, now))?;
        }
        if let Some(der) = bci {
            let bci = BrandCrlIdentifier::from_der(der)?;
            if let Some(brand_ca) = self.authority_chain(bci.issuer_der(), None) {
                count(self.install_brand_crl_identifier(bci, &brand_ca, now))?;
            }
        }
        Ok(news)
    }

    /// The chain of the known CA that a CRL is of, empty for a root.
    fn chain_of_crl(&self, crl: &Crl) -> Option<Vec<Certificate>> {
        let state = self.state();
        if state.root_named(crl.issuer_der()).is_some() {
            return Some(Vec::new());
        }
        let held = state.authority(crl.issuer_der(), crl.authority_key_identifier())?;
        Some(held.chain.clone())
    }

    /// Verifies the path of a CA, which webpki does for leaves alone.
    fn verify_authority(
        &self,
        evidence: &Evidence,
        authority: &Certificate,
        now: i64,
    ) -> Result<(), PathError> {
        if !authority.is_authority() {
            return Err(PathError::LeafAsCa(authority.role()));
        }
        let path = evidence.path();
        path.check_structure()?;
        path.check_validity(now)?;
        if !path
            .links()
            .all(|(subject, issuer)| self.signatures.certificate(subject, issuer))
        {
            return Err(PathError::BadSignature);
        }
        evidence.check_authority_revocation(now)?;
        Ok(())
    }
}

/// What says nothing new, or nothing that counts.
fn is_of_no_use(error: &PathError) -> bool {
    matches!(
        error,
        PathError::CrlOlder { .. }
            | PathError::CrlStale(_)
            | PathError::CrlMissing(_)
            | PathError::BciOlder { .. }
            | PathError::BciStale(_)
            | PathError::Revoked(_)
            | PathError::Expired(_)
    )
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

/// Whether a BrandCRLIdentifier is newer than the one held.
fn compare_bcis(
    held: Option<&BrandCrlIdentifier>,
    offered: &BrandCrlIdentifier,
) -> Result<Installed, PathError> {
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
