//! Decides whether a chain is good.

mod bcis;
mod held;
mod install;
mod news;
mod ocsp;
mod roots;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openset_jose::{Provider, Thumbprint};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder};

use crate::cache::{Footing, Window};
use crate::signature::SignatureCheck;
use crate::{
    BrandCrlIdentifier, BrandId, Certificate, Chain, Crl, Expect, PathError, Purpose, TrustAnchor,
    oid,
};
use held::{Evidence, State};
pub use held::{
    KNOWN_AUTHORITIES_MAX, KNOWN_CHAINS_MAX, KNOWN_RESPONSES_MAX, REVOKED_MARKS_MAX, ROOT_OVERLAP_S,
};
pub use install::{CrlIssuer, Installed, NUMBER_AHEAD_MAX};
pub use news::{NEWS_AUTHORITIES_MAX, NEWS_CRLS_MAX};

/// How far the clocks of two parties may differ before a CRL counts as dated in the future.
pub const CLOCK_SKEW_S: i64 = 300;

/// Verifies chains to the pinned root and its successors against the CRLs of all CAs on them and the brand's
/// BrandCRLIdentifier. To be shared between threads.
///
/// A chain that was found good is remembered by its leaf's thumbprint for as long as no certificate, no CRL and no
/// BrandCRLIdentifier on its path runs out, and until news come in that concern it: a CRL of a CA on the path, a
/// BrandCRLIdentifier of the brand, a certificate on the path that is marked as revoked.
#[derive(Debug)]
pub struct PathVerifier {
    anchor: TrustAnchor,
    provider: &'static dyn Provider,
    signatures: SignatureCheck,
    state: Mutex<State>,
}

impl PathVerifier {
    /// A verifier that trusts `anchor` and holds no CRL yet; `provider` holds the public keys of the
    /// certificates that it gives out.
    pub fn new(anchor: TrustAnchor, provider: &'static dyn Provider) -> Self {
        Self {
            state: Mutex::new(State::new(anchor.clone())),
            anchor,
            provider,
            signatures: SignatureCheck::default(),
        }
    }

    /// How many signatures of certificates, CRLs and BrandCRLIdentifiers were checked so far.
    pub fn signature_checks(&self) -> u64 {
        self.signatures.count()
    }

    /// Refuses the certificate with this thumbprint from now on, wherever it stands on a path: its revocation was
    /// learned elsewhere than from a CRL. Of [`REVOKED_MARKS_MAX`] marks the oldest makes room for the next; by then
    /// the CRL lists it.
    pub fn mark_revoked(&self, certificate: &Thumbprint) {
        self.state().mark_revoked(certificate);
    }

    /// The certificates of the brand's CAs that are known: their CRLs are held.
    pub fn authorities_held(&self, brand: &BrandId) -> Vec<Thumbprint> {
        let state = self.state();
        let of_brand = |ca: &&Certificate| ca.brand() == Some(brand);
        let known = state.held.known_authorities().filter(of_brand);
        known.map(Certificate::thumbprint).collect()
    }

    /// The CRLs of the roots and of the brand's CAs, each before those of the CAs below.
    pub fn crls_held(&self, brand: &BrandId) -> Vec<Crl> {
        self.state().held.crls_of_brand(brand)
    }

    /// The brand's newest BrandCRLIdentifier that is in effect. One that waits for CRLs is not: whoever is told of
    /// it would not send them.
    pub fn brand_crl_identifier_held(&self, brand: &BrandId) -> Option<BrandCrlIdentifier> {
        self.state().held.bci_of(brand).cloned()
    }

    /// All BrandCRLIdentifiers of the brand that are held, of all its CAs, those that wait for CRLs included.
    pub fn brand_crl_identifiers_held(&self, brand: &BrandId) -> Vec<BrandCrlIdentifier> {
        self.state().held.bcis_of(brand)
    }

    /// The chain of a known CA below the root, by its name and, where one is given, its key identifier.
    pub fn authority_chain(
        &self,
        issuer_der: &[u8],
        key_identifier: Option<&[u8]>,
    ) -> Option<Chain> {
        let state = self.state();
        let held = state.held.authority(issuer_der, key_identifier)?;
        Chain::new(held.chain.clone()).ok()
    }

    /// The chain with what is missing at its upper end, from the CAs that are known. That it is good is for
    /// [`Self::verify`] to find out.
    pub fn whole(&self, chain: &Chain) -> Chain {
        let completed = self.state().held.completed(chain.certificates());
        Chain::new(completed).unwrap_or_else(|_| chain.clone())
    }

    /// The certificate of the known CA, or root, in whose name this one was issued. Whose key signed it is for
    /// [`Self::verify`] to find out.
    pub fn issuer_of(&self, certificate: &Certificate) -> Option<Certificate> {
        self.state().held.issuer_of(certificate).cloned()
    }

    /// Verifies a chain whose leaf signs or opens messages, and gives the leaf. What is missing at its upper end is
    /// taken from the CAs that are known.
    ///
    /// All of this holds afterwards: the leaf has the role, the purpose and, if one is given, the brand that is
    /// expected; every link is signed by the next certificate's key, and the last by a trusted root's; every
    /// certificate is valid now; each was issued by a CA whose role it is to issue it; the whole chain is of one
    /// brand; the current CRL of every CA on the path, which is held, does not list it; and the brand's current
    /// BrandCRLIdentifier, which is held, names every CA on the path and no newer CRL of it.
    pub fn verify(
        &self,
        chain: &Chain,
        expect: &Expect<'_>,
        now: i64,
    ) -> Result<Certificate, PathError> {
        let leaf = chain.leaf();
        check_leaf(leaf, expect)?;
        let (evidence, generation) = {
            let mut state = self.state();
            if let Some(known) = state.known.find(&leaf.thumbprint(), now) {
                return Ok(known);
            }
            let held = &state.held;
            let evidence = held.evidence(chain.certificates(), &self.anchor, now);
            (evidence, state.generation)
        };
        evidence.path().check_structure()?;
        let validity = evidence.check_validity(now)?;
        let revocation = evidence.check_revocation(now);
        if let Err(error) = self.check_with_webpki(&evidence, now) {
            return Err(refusal(&error, revocation));
        }
        let freshness = revocation?;
        let leaf = leaf.held_by(self.provider)?;
        let path = evidence.footings();
        self.remember(&leaf, validity.within(freshness), path, generation);
        Ok(leaf)
    }

    /// The leaf with this thumbprint, if its chain was found good before, is good now and fits `expect`. Costs
    /// no signature check. None means nothing but that [`Self::verify`] has to be asked, with the chain.
    pub fn known(&self, leaf: &Thumbprint, expect: &Expect<'_>, now: i64) -> Option<Certificate> {
        let known = self.state().known.find(leaf, now)?;
        check_leaf(&known, expect).is_ok().then_some(known)
    }

    fn remember(&self, leaf: &Certificate, window: Window, path: Vec<Footing>, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.known.insert(leaf.clone(), window, path);
        }
    }

    /// The signatures of a path, and once more all that RFC 5280 says of it, by a library that knows nothing of
    /// our own checks.
    fn check_with_webpki(&self, evidence: &Evidence, now: i64) -> Result<(), webpki::Error> {
        let Some((leaf, authorities)) = evidence.certificates.split_first() else {
            return Err(webpki::Error::UnknownIssuer);
        };
        let authorities: Vec<CertificateDer<'_>> = authorities
            .iter()
            .map(|authority| CertificateDer::from(authority.der()))
            .collect();
        let end_entity = EndEntityCert::try_from(leaf.as_pki_type())?;
        // With a CRL missing there is nothing for webpki to say of revocation; our own check names the CA.
        let held: Option<Vec<_>> = evidence
            .crls
            .iter()
            .map(|crl| crl.as_ref().map(Crl::as_webpki))
            .collect();
        let held = held.unwrap_or_default();
        let revocation = RevocationOptionsBuilder::new(&held).ok().map(|options| {
            options
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let verified = end_entity.verify_for_usage(
            &[&self.signatures],
            std::slice::from_ref(evidence.root.as_pki_type()),
            &authorities,
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default())),
            KeyUsage::required_if_present(match leaf.purpose() {
                Purpose::OcspSigning => oid::OCSP_SIGNING_DER,
                Purpose::Signature | Purpose::KeyExchange | Purpose::CertificateSigning => {
                    oid::role_usage_der(leaf.role())
                }
            }),
            revocation,
            None,
        );
        verified.map(|_| ())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names what webpki refuses. What is wrong with a signature goes before what a CRL says, and a rule that only
/// webpki found broken is passed on in its own words.
fn refusal(error: &webpki::Error, revocation: Result<Window, PathError>) -> PathError {
    match (error, revocation) {
        (webpki::Error::InvalidSignatureForPublicKey, _) => PathError::BadSignature,
        (webpki::Error::UnknownIssuer, _) => PathError::UnknownIssuer,
        (_, Err(named)) => named,
        (other, Ok(_)) => PathError::Refused(other.to_string()),
    }
}

/// Whether the leaf is what it has to be.
fn check_leaf(leaf: &Certificate, expect: &Expect<'_>) -> Result<(), PathError> {
    if leaf.is_authority() {
        return Err(PathError::CaAsLeaf);
    }
    if leaf.role() != expect.role {
        return Err(PathError::WrongRole {
            expected: expect.role,
            found: leaf.role(),
        });
    }
    if leaf.purpose() != expect.purpose {
        return Err(PathError::WrongPurpose {
            expected: expect.purpose,
            found: leaf.purpose(),
        });
    }
    if expect
        .brand
        .is_some_and(|brand| leaf.brand() != Some(brand))
    {
        return Err(PathError::WrongBrand);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use openset_jose::{default_provider, sha256};

    use super::*;
    use crate::test_pki::{certificate, root};

    #[test]
    fn a_chain_verified_before_a_crl_came_in_is_not_remembered_after_it() {
        let root = root(0);
        let der = root.certificate().der();
        let verifier = PathVerifier::new(
            TrustAnchor::pinned(der, &sha256(der)).unwrap(),
            default_provider(),
        );
        let before = verifier.state().generation;
        let crl = root.issue_crl(1, 0, 1000, &[]).unwrap();
        verifier.install_crl(crl, CrlIssuer::Root, 500).unwrap();
        let after = verifier.state().generation;
        let leaf = certificate(1);
        verifier.remember(&leaf, Window::ALWAYS, Vec::new(), before);
        assert!(
            verifier
                .state()
                .known
                .find(&leaf.thumbprint(), 500)
                .is_none()
        );
        verifier.remember(&leaf, Window::ALWAYS, Vec::new(), after);
        assert!(
            verifier
                .state()
                .known
                .find(&leaf.thumbprint(), 500)
                .is_some()
        );
    }
}
