//! Decides whether a chain is good.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openset_jose::{Provider, Thumbprint};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder};

use crate::cache::{KnownLeaves, Window};
use crate::signature::SignatureCheck;
use crate::walk::{Path, check_freshness};
use crate::{Certificate, Chain, Crl, Expect, PathError, TrustAnchor, oid};

/// How far the clocks of two parties may differ before a CRL counts as dated in the future.
pub const CLOCK_SKEW_S: i64 = 300;

/// The most verified leaves that a verifier remembers.
pub const KNOWN_CHAINS_MAX: usize = 4096;

/// Verifies chains to one pinned root against the CRLs of all CAs on them. To be shared between threads.
///
/// A chain that was found good is remembered by its leaf's thumbprint for as long as no certificate and no
/// CRL on its path runs out, and until a newer CRL of any CA comes in.
#[derive(Debug)]
pub struct PathVerifier {
    anchor: TrustAnchor,
    provider: &'static dyn Provider,
    signatures: SignatureCheck,
    state: Mutex<State>,
}

/// A CA: its name and the SHA-256 of its key. Two CAs of one name do not speak for each other.
type Issuer = (Vec<u8>, Thumbprint);

#[derive(Debug)]
struct State {
    crls: HashMap<Issuer, Crl>,
    /// Counts the CRLs taken in, so that a chain verified against an older one is not remembered.
    generation: u64,
    known: KnownLeaves,
}

/// Whose CRL it is.
#[derive(Clone, Copy, Debug)]
pub enum CrlIssuer<'a> {
    /// The root's.
    Root,
    /// That of the CA whose certificate is the first of this chain.
    Chain(&'a Chain),
}

/// What became of a CRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is held from now on.
    Newer,
    /// It was held already.
    Known,
}

impl PathVerifier {
    /// A verifier that trusts `anchor` and holds no CRL yet; `provider` holds the public keys of the
    /// certificates that it gives out.
    pub fn new(anchor: TrustAnchor, provider: &'static dyn Provider) -> Self {
        let state = State {
            crls: HashMap::new(),
            generation: 0,
            known: KnownLeaves::new(KNOWN_CHAINS_MAX),
        };
        Self {
            anchor,
            provider,
            signatures: SignatureCheck::default(),
            state: Mutex::new(state),
        }
    }

    /// The root.
    pub fn anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// How many signatures of certificates and CRLs were checked so far.
    pub fn signature_checks(&self) -> u64 {
        self.signatures.count()
    }

    /// Takes in a CA's CRL, after verifying the CA's own path and the CRL's signature and dates. Start with the
    /// root's and go down: a CA's path needs the CRLs of the CAs above it.
    ///
    /// A CRL with a higher number than the one held takes its place and drops what is remembered of chains; a
    /// lower one is refused.
    pub fn install_crl(
        &self,
        crl: Crl,
        issuer: CrlIssuer<'_>,
        now: i64,
    ) -> Result<Installed, PathError> {
        let root = self.anchor.certificate();
        let (certificates, issuer) = match issuer {
            CrlIssuer::Root => ([].as_slice(), root),
            CrlIssuer::Chain(chain) => (chain.certificates(), chain.leaf()),
        };
        if crl.issuer_der() != issuer.subject_der() {
            return Err(PathError::CrlOfAnother(issuer.role()));
        }
        check_freshness(&crl, issuer, now)?;
        let key = (issuer.subject_der().to_vec(), issuer.key_thumbprint());
        if compare(self.state().crls.get(&key), &crl)? == Installed::Known {
            return Ok(Installed::Known);
        }
        self.verify_authority(Path { certificates, root }, issuer, now)?;
        if !self.signatures.crl(&crl, issuer) {
            return Err(PathError::CrlForged(issuer.role()));
        }
        let mut state = self.state();
        let outcome = compare(state.crls.get(&key), &crl)?;
        if outcome == Installed::Newer {
            state.crls.insert(key, crl);
            state.generation = state.generation.wrapping_add(1);
            state.known.clear();
        }
        Ok(outcome)
    }

    /// Verifies a chain whose leaf signs or opens messages, and gives the leaf.
    ///
    /// All of this holds afterwards: the leaf has the role, the purpose and, if one is given, the brand that is
    /// expected; every link is signed by the next certificate's key, and the last by the root's; every
    /// certificate is valid now; each was issued by a CA whose role it is to issue it; the whole chain is of one
    /// brand; and the current CRL of every CA on the path, which is held, does not list it.
    pub fn verify(
        &self,
        chain: &Chain,
        expect: &Expect<'_>,
        now: i64,
    ) -> Result<Certificate, PathError> {
        let leaf = chain.leaf();
        check_leaf(leaf, expect)?;
        if let Some(known) = self.state().known.find(&leaf.thumbprint(), now) {
            return Ok(known);
        }
        let path = Path {
            certificates: chain.certificates(),
            root: self.anchor.certificate(),
        };
        let (crls, generation) = self.crls_of(path);
        path.check_structure()?;
        let validity = path.check_validity(now)?;
        let revocation = path.check_revocation(&crls, now);
        if let Err(error) = self.check_with_webpki(chain, &crls, now) {
            return Err(refusal(&error, revocation));
        }
        let freshness = revocation?;
        let leaf = leaf.held_by(self.provider)?;
        self.remember(
            &leaf,
            validity.and(freshness.first, freshness.last),
            generation,
        );
        Ok(leaf)
    }

    /// The leaf with this thumbprint, if its chain was found good before, is good now and fits `expect`. Costs
    /// no signature check. None means nothing but that [`Self::verify`] has to be asked, with the chain.
    pub fn known(&self, leaf: &Thumbprint, expect: &Expect<'_>, now: i64) -> Option<Certificate> {
        let known = self.state().known.find(leaf, now)?;
        check_leaf(&known, expect).is_ok().then_some(known)
    }

    fn remember(&self, leaf: &Certificate, window: Window, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.known.insert(leaf.clone(), window);
        }
    }

    /// Verifies the path of a CA, which webpki does for leaves alone.
    fn verify_authority(
        &self,
        path: Path<'_>,
        authority: &Certificate,
        now: i64,
    ) -> Result<(), PathError> {
        if !authority.is_authority() {
            return Err(PathError::LeafAsCa(authority.role()));
        }
        path.check_structure()?;
        path.check_validity(now)?;
        if !path
            .links()
            .all(|(subject, issuer)| self.signatures.certificate(subject, issuer))
        {
            return Err(PathError::BadSignature);
        }
        let (crls, _) = self.crls_of(path);
        path.check_revocation(&crls, now)?;
        Ok(())
    }

    /// The signatures of a path, and once more all that RFC 5280 says of it, by a library that knows nothing of
    /// our own checks.
    fn check_with_webpki(
        &self,
        chain: &Chain,
        crls: &[Option<Crl>],
        now: i64,
    ) -> Result<(), webpki::Error> {
        let authorities: Vec<CertificateDer<'_>> = chain
            .authorities()
            .iter()
            .map(|authority| CertificateDer::from(authority.der()))
            .collect();
        let leaf = EndEntityCert::try_from(chain.leaf().as_pki_type())?;
        // With a CRL missing there is nothing for webpki to say of revocation; our own check names the CA.
        let held: Option<Vec<_>> = crls
            .iter()
            .map(|crl| crl.as_ref().map(Crl::as_webpki))
            .collect();
        let held = held.unwrap_or_default();
        let revocation = RevocationOptionsBuilder::new(&held).ok().map(|options| {
            options
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let verified = leaf.verify_for_usage(
            &[&self.signatures],
            std::slice::from_ref(self.anchor.as_pki_type()),
            &authorities,
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default())),
            KeyUsage::required_if_present(oid::role_usage_der(chain.leaf().role())),
            revocation,
            None,
        );
        verified.map(|_| ())
    }

    /// What is held of each link's issuer, and as of which generation.
    fn crls_of(&self, path: Path<'_>) -> (Vec<Option<Crl>>, u64) {
        let state = self.state();
        let held = |issuer: &Certificate| {
            state
                .crls
                .get(&(issuer.subject_der().to_vec(), issuer.key_thumbprint()))
                .cloned()
        };
        (
            path.links().map(|(_, issuer)| held(issuer)).collect(),
            state.generation,
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a CRL is newer than the one held.
fn compare(held: Option<&Crl>, offered: &Crl) -> Result<Installed, PathError> {
    let Some(held) = held else {
        return Ok(Installed::Newer);
    };
    match offered.number().cmp(&held.number()) {
        std::cmp::Ordering::Greater => Ok(Installed::Newer),
        std::cmp::Ordering::Equal if offered.der() == held.der() => Ok(Installed::Known),
        std::cmp::Ordering::Equal => Err(PathError::CrlNumberReused {
            number: held.number(),
        }),
        std::cmp::Ordering::Less => Err(PathError::CrlOlder {
            held: held.number(),
            offered: offered.number(),
        }),
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
        let path = Path {
            certificates: &[],
            root: root.certificate(),
        };
        let (_, before) = verifier.crls_of(path);
        let crl = root.issue_crl(1, 0, 1000, &[]).unwrap();
        verifier.install_crl(crl, CrlIssuer::Root, 500).unwrap();
        let (_, after) = verifier.crls_of(path);
        let leaf = certificate(1);
        verifier.remember(&leaf, Window::ALWAYS, before);
        assert!(
            verifier
                .state()
                .known
                .find(&leaf.thumbprint(), 500)
                .is_none()
        );
        verifier.remember(&leaf, Window::ALWAYS, after);
        assert!(
            verifier
                .state()
                .known
                .find(&leaf.thumbprint(), 500)
                .is_some()
        );
    }
}
