//! The CAs themselves: certificates in the clear, private keys sealed.

use openset_jose::{PrivateKey, default_provider};
use openset_pki::Certificate;
use openset_store::{StoreError, Tx, Vault, VaultError, keys};
use sqlx::{AnyConnection, Row};

/// A CA's certificates.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its name in `/crl/{id}`.
    pub(crate) id: String,
    /// The CA that issued for it; none for the root.
    pub(crate) parent: Option<String>,
    /// With which it issues.
    pub(crate) certificate: Certificate,
    /// With which an issuing CA signs and opens messages.
    pub(crate) message: Option<Pair<Certificate>>,
}

/// Something for signatures and something for key exchange.
#[derive(Debug)]
pub(crate) struct Pair<T> {
    pub(crate) signature: T,
    pub(crate) key_exchange: T,
}

/// A CA's keys.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) issue: PrivateKey,
    pub(crate) message: Option<Pair<PrivateKey>>,
}

/// Stores a CA with its keys; says whether it did. It did not if another replica was first.
pub(crate) async fn insert(
    tx: &mut Tx,
    vault: &Vault,
    place: i64,
    held: &Held,
    keys: &Keys,
) -> Result<bool, VaultError> {
    let message = held.message.as_ref();
    let done = sqlx::query(
        "INSERT INTO authorities (id, place, parent, certificate, message_signature, key_exchange) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(&held.id)
    .bind(place)
    .bind(held.parent.as_ref())
    .bind(held.certificate.der())
    .bind(message.map(|pair| pair.signature.der()))
    .bind(message.map(|pair| pair.key_exchange.der()))
    .execute(&mut **tx)
    .await
    .map_err(StoreError::from)?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    let mut fresh = put_key(tx, vault, &name(&held.id, "issue"), &keys.issue).await?;
    if let Some(pair) = &keys.message {
        fresh &= put_key(tx, vault, &name(&held.id, "sign"), &pair.signature).await?;
        fresh &= put_key(tx, vault, &name(&held.id, "open"), &pair.key_exchange).await?;
    }
    Ok(fresh)
}

/// Seals a private key under its name; says whether the name was free.
pub(crate) async fn put_key(
    tx: &mut Tx,
    vault: &Vault,
    name: &str,
    key: &PrivateKey,
) -> Result<bool, VaultError> {
    Ok(keys::put(tx, vault, name, &key.to_pkcs8()).await? == keys::Put::Stored)
}

/// All CAs, parents before children.
pub(crate) async fn all(conn: &mut AnyConnection) -> Result<Vec<Held>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, parent, certificate, message_signature, key_exchange FROM authorities ORDER BY place",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let signature: Option<Vec<u8>> = row.try_get(3)?;
            let key_exchange: Option<Vec<u8>> = row.try_get(4)?;
            let message = signature
                .zip(key_exchange)
                .map(|(signature, key_exchange)| {
                    Ok::<_, StoreError>(Pair {
                        signature: read(&signature)?,
                        key_exchange: read(&key_exchange)?,
                    })
                });
            Ok(Held {
                id: row.try_get(0)?,
                parent: row.try_get(1)?,
                certificate: read(&row.try_get::<Vec<u8>, _>(2)?)?,
                message: message.transpose()?,
            })
        })
        .collect()
}

/// The keys of a CA.
pub(crate) async fn keys_of(
    conn: &mut AnyConnection,
    vault: &Vault,
    held: &Held,
) -> Result<Keys, VaultError> {
    let issue = load_key(&mut *conn, vault, &name(&held.id, "issue")).await?;
    if held.message.is_none() {
        return Ok(Keys {
            issue,
            message: None,
        });
    }
    let signature = load_key(&mut *conn, vault, &name(&held.id, "sign")).await?;
    let key_exchange = load_key(&mut *conn, vault, &name(&held.id, "open")).await?;
    Ok(Keys {
        issue,
        message: Some(Pair {
            signature,
            key_exchange,
        }),
    })
}

async fn load_key(
    conn: &mut AnyConnection,
    vault: &Vault,
    name: &str,
) -> Result<PrivateKey, VaultError> {
    let missing = StoreError::Corrupt("a CA's key is missing");
    let der = keys::load(conn, vault, name).await?.ok_or(missing)?;
    let key = default_provider().private_key_from_pkcs8(&der);
    key.map_err(|_| StoreError::Corrupt("a CA's key is not a key").into())
}

fn name(id: &str, key: &str) -> String {
    format!("authority/{id}/{key}")
}

fn read(der: &[u8]) -> Result<Certificate, StoreError> {
    Certificate::from_der(der).map_err(|_| StoreError::Corrupt("authorities.certificate"))
}
