//! Verifier.
use openset_jose::{Provider, Thumbprint};

use crate::{Certificate, Chain, Crl, Expect, PathError, TrustAnchor};
/// How far apart clocks may be when a CRL is dated.
pub const CLOCK_SKEW_S: i64 = 300;
/// Chains remembered.
pub const KNOWN_CHAINS_MAX: usize = 4096;
/// Verifies.
#[derive(Debug)]
pub struct PathVerifier;
/// Whose CRL it is.
#[derive(Clone, Copy, Debug)]
pub enum CrlIssuer<'a> {
    /// The root's.
    Root,
    /// That of the CA which is the leaf of this chain.
    Chain(&'a Chain),
}
/// What became of a CRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is now held.
    Newer,
    /// It was held already.
    Known,
}
#[allow(missing_docs, clippy::todo, clippy::needless_pass_by_value, reason = "skeleton")]
impl PathVerifier {
    pub fn new(_anchor: TrustAnchor, _provider: &'static dyn Provider) -> Self { todo!() }
    pub fn anchor(&self) -> &TrustAnchor { todo!() }
    pub fn install_crl(&self, _crl: Crl, _issuer: CrlIssuer<'_>, _now: i64) -> Result<Installed, PathError> { todo!() }
    pub fn verify(&self, _chain: &Chain, _expect: &Expect<'_>, _now: i64) -> Result<Certificate, PathError> { todo!() }
    /// The leaf of a chain verified lately, if it is still good for `expect`; costs no signature check.
    pub fn known(&self, _leaf: &Thumbprint, _expect: &Expect<'_>, _now: i64) -> Option<Certificate> { todo!() }
    pub fn signature_checks(&self) -> u64 { todo!() }
}
