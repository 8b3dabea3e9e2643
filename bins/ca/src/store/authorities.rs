//! The CAs themselves: certificates in the clear, private keys sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_jose::{PrivateKey, default_provider};
use openset_pki::Certificate;
use openset_store::{StoreError, Tx, Vault, VaultError, keys};
use sqlx::{AnyConnection, Row};
use zeroize::Zeroizing;

use crate::journal::{AuthorityMade, Event, RecordedTx};

/// A CA's certificates.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its name in `/crl/{id}`.
    pub(crate) id: String,
    /// The CA that issued for it; none for a root.
    pub(crate) parent: Option<String>,
    /// The id of its first generation.
    pub(crate) series: String,
    /// Counts from 1.
    pub(crate) generation: i64,
    /// The region that it is for; none for roots and brand CAs.
    pub(crate) region: Option<String>,
    /// Since when it issues nothing but its CRL.
    pub(crate) retired_at_s: Option<i64>,
    /// Whether its certificate was revoked.
    pub(crate) revoked: bool,
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
    /// None for a root that is kept offline.
    pub(crate) issue: Option<PrivateKey>,
    /// For a root: the key of the root after it, as [`crate::hierarchy::next_key`] keeps it.
    pub(crate) next: Option<Zeroizing<Vec<u8>>>,
    pub(crate) message: Option<Pair<PrivateKey>>,
}

/// Stores a CA with its keys; says whether it did. It did not if another replica was first.
pub(crate) async fn insert(
    tx: &mut RecordedTx,
    vault: &Vault,
    held: &Held,
    keys: &Keys,
) -> Result<bool, VaultError> {
    let mut secrets = Vec::new();
    let pair = keys.message.as_ref();
    let pkcs8 = |key: &PrivateKey| key.to_pkcs8();
    let named = [
        (name(&held.id, "issue"), keys.issue.as_ref().map(pkcs8)),
        (next_key(&held.id), keys.next.clone()),
        (
            name(&held.id, "sign"),
            pair.map(|pair| pkcs8(&pair.signature)),
        ),
        (
            name(&held.id, "open"),
            pair.map(|pair| pkcs8(&pair.key_exchange)),
        ),
    ];
    for (name, key) in named {
        let Some(key) = key else { continue };
        if keys::put(tx, vault, &name, &key).await? != keys::Put::Stored {
            return Ok(false);
        }
        secrets.push((name.clone(), sealed(tx, &name).await?));
    }
    let place: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(place), -1) + 1 FROM authorities")
        .fetch_one(&mut ***tx)
        .await
        .map_err(StoreError::from)?;
    let message = held.message.as_ref();
    let made = AuthorityMade {
        id: held.id.clone(),
        place,
        parent: held.parent.clone(),
        series: held.series.clone(),
        generation: held.generation,
        region: held.region.clone(),
        certificate: STANDARD.encode(held.certificate.der()),
        message_signature: message.map(|pair| STANDARD.encode(pair.signature.der())),
        key_exchange: message.map(|pair| STANDARD.encode(pair.key_exchange.der())),
        secrets,
    };
    let stored = insert_made(tx, &made).await?;
    tx.record(Event::Authority(made));
    Ok(stored)
}

/// Stores a CA's row, without its keys; says whether it did.
pub(crate) async fn insert_made(tx: &mut Tx, made: &AuthorityMade) -> Result<bool, StoreError> {
    let der = |text: &String| {
        STANDARD
            .decode(text)
            .map_err(|_| StoreError::Corrupt("a certificate in the journal"))
    };
    let optional = |text: &Option<String>| text.as_ref().map(der).transpose();
    let done = sqlx::query(
        "INSERT INTO authorities (id, place, parent, certificate, message_signature, key_exchange, \
         series, generation, region) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
    )
    .bind(&made.id)
    .bind(made.place)
    .bind(made.parent.as_ref())
    .bind(der(&made.certificate)?)
    .bind(optional(&made.message_signature)?)
    .bind(optional(&made.key_exchange)?)
    .bind(&made.series)
    .bind(made.generation)
    .bind(made.region.as_ref())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A secret as the vault sealed it, base64.
async fn sealed(tx: &mut Tx, name: &str) -> Result<String, StoreError> {
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM vault_secrets WHERE name = $1")
        .bind(name)
        .fetch_one(&mut **tx)
        .await?;
    Ok(STANDARD.encode(sealed))
}

/// Retires a CA; says whether it was not so before.
pub(crate) async fn retire(tx: &mut RecordedTx, id: &str, now_s: i64) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE authorities SET retired_at_s = $1 WHERE id = $2 AND retired_at_s IS NULL",
    )
    .bind(now_s)
    .bind(id)
    .execute(&mut ***tx)
    .await?;
    tx.record(Event::Retired {
        id: id.to_owned(),
        at_s: now_s,
    });
    Ok(done.rows_affected() == 1)
}

/// Whether a CA may still issue, at this very moment and whatever a process remembers.
pub(crate) async fn issues(conn: &mut AnyConnection, id: &str) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT generation FROM authorities WHERE id = $1 AND retired_at_s IS NULL",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
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
        "SELECT id, parent, certificate, message_signature, key_exchange, series, generation, region, \
         retired_at_s, (SELECT MAX(revoked_at_s) FROM certificates WHERE owner = authorities.id \
         AND purpose = 'certificate_signing') FROM authorities ORDER BY place",
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
                series: row.try_get(5)?,
                generation: row.try_get(6)?,
                region: row.try_get(7)?,
                retired_at_s: row.try_get(8)?,
                revoked: row.try_get::<Option<i64>, _>(9)?.is_some(),
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
    let missing = || VaultError::from(StoreError::Corrupt("a CA's key is missing"));
    let issue = load_key(&mut *conn, vault, &name(&held.id, "issue")).await?;
    if held.parent.is_some() && issue.is_none() {
        return Err(missing());
    }
    let message = match &held.message {
        None => None,
        Some(_) => Some(Pair {
            signature: load_key(&mut *conn, vault, &name(&held.id, "sign"))
                .await?
                .ok_or_else(missing)?,
            key_exchange: load_key(&mut *conn, vault, &name(&held.id, "open"))
                .await?
                .ok_or_else(missing)?,
        }),
    };
    Ok(Keys {
        issue,
        message,
        next: None,
    })
}

/// The private key of this name.
pub(crate) async fn load_key(
    conn: &mut AnyConnection,
    vault: &Vault,
    name: &str,
) -> Result<Option<PrivateKey>, VaultError> {
    let Some(der) = keys::load(conn, vault, name).await? else {
        return Ok(None);
    };
    let key = default_provider().private_key_from_pkcs8(&der);
    key.map(Some)
        .map_err(|_| StoreError::Corrupt("a CA's key is not a key").into())
}

/// What the key of the root after a root is called in the vault.
pub(crate) fn next_key(root: &str) -> String {
    format!("{root}/next")
}

/// What a key of a CA is called in the vault.
pub(crate) fn name(id: &str, key: &str) -> String {
    format!("authority/{id}/{key}")
}

fn read(der: &[u8]) -> Result<Certificate, StoreError> {
    Certificate::from_der(der).map_err(|_| StoreError::Corrupt("authorities.certificate"))
}
