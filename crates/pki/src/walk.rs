//! Walks a path from its leaf to the root and checks what SET demands of every link.

use crate::cache::Window;
use crate::verifier::CLOCK_SKEW_S;
use crate::{BrandCrlIdentifier, Certificate, Crl, PathError};

/// A chain and the root above it.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    /// Leaf first; empty for the root itself.
    pub(crate) certificates: &'a [Certificate],
    pub(crate) root: &'a Certificate,
}

impl<'a> Path<'a> {
    /// Every certificate with the one that must have issued it, leaf first.
    pub(crate) fn links(self) -> impl Iterator<Item = (&'a Certificate, &'a Certificate)> {
        let issuers = self
            .certificates
            .iter()
            .skip(1)
            .chain(std::iter::once(self.root));
        self.certificates.iter().zip(issuers)
    }

    /// Names, roles, brand and path lengths: all that costs neither a signature check nor a clock.
    pub(crate) fn check_structure(self) -> Result<(), PathError> {
        let Some(leaf) = self.certificates.first() else {
            return Ok(());
        };
        if leaf.issuer_der() == leaf.subject_der() {
            return Err(PathError::SelfSigned);
        }
        for (authorities_below, (subject, issuer)) in (0_u32..).zip(self.links()) {
            if subject.issuer_der() != issuer.subject_der() {
                return Err(PathError::UnknownIssuer);
            }
            if !issuer.is_authority() {
                return Err(PathError::LeafAsCa(issuer.role()));
            }
            if issuer
                .path_len()
                .is_some_and(|path_len| authorities_below > path_len)
            {
                return Err(PathError::PathTooLong(issuer.role()));
            }
            if !issuer.role().may_issue(subject.role(), subject.purpose()) {
                return Err(PathError::WrongIssuer {
                    issuer: issuer.role(),
                    subject: subject.role(),
                    purpose: subject.purpose(),
                });
            }
            if subject.brand() != leaf.brand() {
                return Err(PathError::WrongBrand);
            }
        }
        self.check_names_differ()
    }

    /// With one name for two CAs there would be two ways up; with different names there is exactly the one
    /// that was walked here.
    fn check_names_differ(self) -> Result<(), PathError> {
        let mut names: Vec<_> = self
            .links()
            .map(|(_, issuer)| issuer.subject_der())
            .collect();
        names.sort_unstable();
        let doubled = names
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one == other));
        if doubled {
            Err(PathError::UnknownIssuer)
        } else {
            Ok(())
        }
    }

    /// The validity of every certificate, the root's included.
    pub(crate) fn check_validity(self, now: i64) -> Result<Window, PathError> {
        let mut window = Window::ALWAYS;
        for certificate in self.certificates.iter().chain([self.root]) {
            if now < certificate.not_before() {
                return Err(PathError::NotYetValid(certificate.role()));
            }
            if now > certificate.not_after() {
                return Err(PathError::Expired(certificate.role()));
            }
            window = window.and(certificate.not_before(), certificate.not_after());
        }
        Ok(window)
    }

    /// The revocation status of every certificate below the root; `crls` holds what is known of each link's
    /// issuer. From the root down: what a revoked CA says of others does not count.
    pub(crate) fn check_revocation(
        self,
        crls: &[Option<Crl>],
        now: i64,
    ) -> Result<Window, PathError> {
        let mut window = Window::ALWAYS;
        let links: Vec<_> = self.links().zip(crls).collect();
        for ((subject, issuer), crl) in links.into_iter().rev() {
            let crl = crl.as_ref().ok_or(PathError::CrlMissing(issuer.role()))?;
            check_freshness(crl, issuer, now)?;
            if crl.revokes(subject.serial()) {
                return Err(PathError::Revoked(subject.role()));
            }
            window = window.and(
                crl.this_update().saturating_sub(CLOCK_SKEW_S),
                crl.next_update().saturating_sub(1),
            );
        }
        Ok(window)
    }
}

impl Path<'_> {
    /// The brand's word on its CAs: set-reference section 1 has it that a chain is accepted only with an unexpired
    /// BrandCRLIdentifier and, of every CA on the path, a CRL that is not behind it. From the root down.
    pub(crate) fn check_brand(
        self,
        bci: Option<&BrandCrlIdentifier>,
        crls: &[Option<Crl>],
        now: i64,
    ) -> Result<Window, PathError> {
        let Some(brand) = self.certificates.first().and_then(Certificate::brand) else {
            return Ok(Window::ALWAYS);
        };
        let bci = bci.ok_or_else(|| PathError::BciMissing(brand.clone()))?;
        check_bci_freshness(bci, now)?;
        let links: Vec<_> = self.links().zip(crls).collect();
        for ((_, issuer), crl) in links.into_iter().rev() {
            let named = bci
                .number_of(issuer.subject_der())
                .ok_or(PathError::BciOmits(issuer.role()))?;
            let held = crl.as_ref().map(Crl::number);
            let held = held.ok_or(PathError::CrlMissing(issuer.role()))?;
            if held < named {
                return Err(PathError::CrlBehindBci {
                    authority: issuer.role(),
                    held,
                    named,
                });
            }
        }
        Ok(Window {
            first: bci.not_before().saturating_sub(CLOCK_SKEW_S),
            last: bci.not_after(),
        })
    }
}

/// Whether `now` lies between the BrandCRLIdentifier's dates.
pub(crate) fn check_bci_freshness(bci: &BrandCrlIdentifier, now: i64) -> Result<(), PathError> {
    if bci.not_before() > now.saturating_add(CLOCK_SKEW_S) {
        return Err(PathError::BciFuture(bci.brand().clone()));
    }
    if now > bci.not_after() {
        return Err(PathError::BciStale(bci.brand().clone()));
    }
    Ok(())
}

/// Whether `now` lies between the CRL's dates; webpki does not look at the first one.
pub(crate) fn check_freshness(crl: &Crl, issuer: &Certificate, now: i64) -> Result<(), PathError> {
    if crl.this_update() > now.saturating_add(CLOCK_SKEW_S) {
        return Err(PathError::CrlFuture(issuer.role()));
    }
    if now >= crl.next_update() {
        return Err(PathError::CrlStale(issuer.role()));
    }
    Ok(())
}
