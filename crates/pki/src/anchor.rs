//! Anchor.
use crate::Certificate;
/// The pinned root.
#[derive(Clone, Debug)]
pub struct TrustAnchor;
/// Why bytes are not the pinned root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// Another certificate.
    #[error("another certificate")]
    Unpinned,
}
#[allow(missing_docs, clippy::todo, reason = "skeleton")]
impl TrustAnchor {
    pub fn pinned(_der: &[u8], _sha256: &[u8; 32]) -> Result<Self, AnchorError> { todo!() }
    pub fn pinned_pem(_pem: &str, _sha256: &[u8; 32]) -> Result<Self, AnchorError> { todo!() }
    pub fn certificate(&self) -> &Certificate { todo!() }
}
