//! Named secrets in the vault: private keys, card secrets.

use sqlx::AnyConnection;
use zeroize::Zeroizing;

use crate::vault::{Vault, VaultError};
use crate::{StoreError, Tx};

/// What [`put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// The secret is stored.
    Stored,
    /// There is one of this name, and it stays: [`load`] it. (Another replica was first.)
    AlreadyThere,
}

/// Stores a secret under a name that has none. A secret is never overwritten by this.
///
/// # Errors
/// The database's own failure.
pub async fn put(tx: &mut Tx, vault: &Vault, name: &str, secret: &[u8]) -> Result<Put, VaultError> {
    let done = sqlx::query(
        "INSERT INTO vault_secrets (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(vault.seal(&context(name), secret))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::from)?;
    Ok(match done.rows_affected() {
        1 => Put::Stored,
        _ => Put::AlreadyThere,
    })
}

/// Opens the secret of this name.
///
/// # Errors
/// [`VaultError::Unopened`] when it was altered, or the database's own failure.
pub async fn load(
    conn: &mut AnyConnection,
    vault: &Vault,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let sealed: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed FROM vault_secrets WHERE name = $1")
            .bind(name)
            .fetch_optional(conn)
            .await
            .map_err(StoreError::from)?;
    sealed
        .map(|sealed| vault.open(&context(name), &sealed))
        .transpose()
}

/// Removes the secret of this name; says whether there was one.
///
/// # Errors
/// The database's own failure.
pub async fn remove(tx: &mut Tx, name: &str) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM vault_secrets WHERE name = $1")
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The names that begin with `prefix`, sorted.
///
/// # Errors
/// The database's own failure.
pub async fn names(conn: &mut AnyConnection, prefix: &str) -> Result<Vec<String>, StoreError> {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    let mut names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM vault_secrets WHERE name LIKE $1 ESCAPE '!'")
            .bind(pattern)
            .fetch_all(conn)
            .await?;
    // SQLite's LIKE takes capitals for small letters.
    names.retain(|name| name.starts_with(prefix));
    names.sort_unstable();
    Ok(names)
}

fn context(name: &str) -> String {
    format!("vault_secrets/sealed/{name}")
}
