//! CRL.
/// The most bytes of a CRL.
pub const CRL_BYTES_MAX: usize = 1024 * 1024;
/// A list of revoked certificates.
#[derive(Clone, Debug)]
pub struct Crl;
/// Why bytes are not a CRL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// To be filled.
    #[error("malformed")]
    Malformed,
}
#[allow(missing_docs, clippy::todo, reason = "skeleton")]
impl Crl {
    pub fn from_der(_der: &[u8]) -> Result<Self, CrlError> { todo!() }
    pub fn der(&self) -> &[u8] { todo!() }
    pub fn issuer_der(&self) -> &[u8] { todo!() }
    pub fn number(&self) -> u64 { todo!() }
    pub fn this_update(&self) -> i64 { todo!() }
    pub fn next_update(&self) -> i64 { todo!() }
    pub fn revokes(&self, _serial: &[u8]) -> bool { todo!() }
    pub fn revoked_serials(&self) -> Vec<Vec<u8>> { todo!() }
}
