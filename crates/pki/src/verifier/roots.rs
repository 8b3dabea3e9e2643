//! The roots that are trusted: the pinned one and its successors.

use openset_jose::Thumbprint;

use super::PathVerifier;
use super::held::Hit;
use crate::{AnchorError, Certificate, TrustAnchor};

impl PathVerifier {
    /// The pinned root.
    pub fn anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// All roots that were accepted, the pinned one first and each before its successor.
    pub fn roots(&self) -> Vec<Certificate> {
        let state = self.state();
        let certificates = state.held.roots.iter().map(TrustAnchor::certificate);
        certificates.cloned().collect()
    }

    /// The last second in which an accepted root is trusted: its own last one, or
    /// [`ROOT_OVERLAP_S`](crate::ROOT_OVERLAP_S) after the first of its successor.
    pub fn root_trusted_until(&self, root: &Thumbprint) -> Option<i64> {
        self.state().held.root_until(root)
    }

    /// Trusts the root that follows one which was accepted already, if its key is the one that was promised
    /// (set-reference section 1, root rollover). The one before it is trusted for some time more, see
    /// [`Self::root_trusted_until`].
    pub fn accept_root(&self, der: &[u8]) -> Result<Thumbprint, AnchorError> {
        let offered = Thumbprint::of(der);
        let mut state = self.state();
        let roots = &state.held.roots;
        if roots.iter().any(|root| root.thumbprint() == offered) {
            return Ok(offered);
        }
        let next = TrustAnchor::self_signed(der)?;
        let certificate = next.certificate();
        // Which of two certificates of one key says how long it is trusted, and what comes after it, is for
        // nobody to decide.
        let same_key = |root: &TrustAnchor| {
            root.certificate().key_thumbprint() == certificate.key_thumbprint()
        };
        if roots.iter().any(same_key) {
            return Err(AnchorError::SecondOfKey);
        }
        if !roots.last().is_some_and(|last| last.promises(&next)) {
            return Err(AnchorError::NotTheSuccessor);
        }
        if state.held.root_named(certificate.subject_der()).is_some() {
            return Err(AnchorError::NameTaken);
        }
        state.held.roots.push(next);
        state.forget(&[Hit::All]);
        Ok(offered)
    }
}
