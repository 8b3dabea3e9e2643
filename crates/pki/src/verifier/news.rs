//! Takes in what comes with messages.

use super::PathVerifier;
use super::held::Held;
use super::install::{Draft, Installed};
use crate::{BrandCrlIdentifier, CHAIN_LENGTH_MAX, Certificate, Crl, PathError};

/// The most CRLs that [`PathVerifier::learn`] takes at once.
pub const NEWS_CRLS_MAX: usize = 64;

/// The most CA certificates that [`PathVerifier::learn_with`] takes at once.
pub const NEWS_AUTHORITIES_MAX: usize = 32;

impl PathVerifier {
    /// Takes in what came with a message, and says how much of it was news: all of it or, if anything is malformed
    /// or forged, nothing. What is of no use is passed over: CRLs of CAs that are not known or no longer good, and
    /// what is older than what is held, out of date, or numbered far ahead of our clock.
    pub fn learn(
        &self,
        crls: &[Vec<u8>],
        bci: Option<&[u8]>,
        now: i64,
    ) -> Result<usize, PathError> {
        self.learn_with(&[], crls, bci, now)
    }

    /// As [`Self::learn`], with the certificates of CAs that came, too: those of them that lead to a trusted root and
    /// whose CRL came with them are known from then on.
    pub fn learn_with(
        &self,
        authorities: &[Certificate],
        crls: &[Vec<u8>],
        bci: Option<&[u8]>,
        now: i64,
    ) -> Result<usize, PathError> {
        if crls.len() > NEWS_CRLS_MAX || authorities.len() > NEWS_AUTHORITIES_MAX {
            return Err(PathError::TooMuchNews);
        }
        let crls = crls.iter().map(|der| Crl::from_der(der));
        let crls: Vec<Crl> = crls.collect::<Result<_, _>>()?;
        let bci = bci.map(BrandCrlIdentifier::from_der).transpose()?;
        self.change(|draft| self.accept_news(draft, authorities, &crls, bci.as_ref(), now))
    }

    fn accept_news(
        &self,
        draft: &mut Draft,
        authorities: &[Certificate],
        crls: &[Crl],
        bci: Option<&BrandCrlIdentifier>,
        now: i64,
    ) -> Result<usize, PathError> {
        let mut of_known: Vec<_> = crls
            .iter()
            .filter_map(|crl| Some((chain_of(&draft.held, authorities, crl)?, crl)))
            .collect();
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
            count(self.accept_crl(draft, crl, &chain, now))?;
        }
        if let Some(bci) = bci {
            let known = draft.held.authority(bci.issuer_der(), None);
            if let Some(brand_ca) = known.map(|held| held.chain.clone()) {
                count(self.accept_bci(draft, bci, &brand_ca, now))?;
            }
        }
        Ok(news)
    }
}

/// The chain of the CA that a CRL is of, empty for a root: of one that is known, or else of one that came.
fn chain_of(held: &Held, came: &[Certificate], crl: &Crl) -> Option<Vec<Certificate>> {
    if let Some(known) = held.chain_of_crl(crl) {
        return Some(known);
    }
    let named = |name: &[u8], key_identifier: Option<&[u8]>| {
        came.iter().find(|ca| {
            ca.is_authority()
                && ca.subject_der() == name
                && key_identifier.is_none_or(|id| ca.key_identifier() == Some(id))
        })
    };
    let mut chain = vec![named(crl.issuer_der(), crl.authority_key_identifier())?.clone()];
    while let Some(last) = chain.last()
        && chain.len() < CHAIN_LENGTH_MAX
        && held.issuer_of(last).is_none()
        && let Some(above) = named(last.issuer_der(), last.authority_key_identifier())
    {
        chain.push(above.clone());
    }
    Some(held.completed(&chain))
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
            | PathError::UnknownIssuer
            | PathError::TooManyAuthorities
            | PathError::Revoked(_)
            | PathError::Expired(_)
            // Whose clock is wrong, the sender's or ours, nobody knows; nothing of it is taken in.
            | PathError::NumberAhead { .. }
    )
}
