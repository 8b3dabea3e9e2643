//! Chain.
use crate::{Certificate, CertificateError};
/// The most certificates in a chain.
pub const CHAIN_LENGTH_MAX: usize = 6;
/// Leaf first, root never inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain;
#[allow(missing_docs, clippy::todo, clippy::needless_pass_by_value, reason = "skeleton")]
impl Chain {
    pub fn new(_certificates: Vec<Certificate>) -> Result<Self, CertificateError> { todo!() }
    pub fn from_x5c(_x5c: &[Vec<u8>]) -> Result<Self, CertificateError> { todo!() }
    pub fn to_x5c(&self) -> Vec<Vec<u8>> { todo!() }
    pub fn leaf(&self) -> &Certificate { todo!() }
    pub fn certificates(&self) -> &[Certificate] { todo!() }
}
