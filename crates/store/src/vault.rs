//! Secrets at rest: AES-256-GCM under keys derived from the operator's passphrase.
//!
//! scrypt runs once per start; its salt and parameters stand in the database, with a value that
//! shows whether the passphrase is right. Each context (`table/column/row id`) has a key of its own
//! and is authenticated as well, so a blob copied to another row does not open there.

use std::fmt;
use std::sync::Arc;

use openset_jose::{Provider, default_provider, hkdf_sha256, hmac_sha256};
use secrecy::{ExposeSecret, SecretString};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use zeroize::Zeroizing;

use crate::{Db, StoreError, Tx, packed};

/// scrypt's cost at first start: 2^14 blocks of 8 x 128 bytes, 16 MiB for some tens of milliseconds.
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 1;
/// What stored parameters may ask for at most, so that a tampered row cannot exhaust the memory.
const LOG_N_MAX: u8 = 20;
const R_MAX: u32 = 16;
const P_MAX: u32 = 4;

const SALT_LEN: usize = 32;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// First byte of every sealed value.
const FORMAT: u8 = 1;
/// First byte of one that was packed before it was sealed. The id of the sample that it needs follows, which is no secret.
const FORMAT_PACKED: u8 = 2;
const SAMPLE_ID_LEN: usize = 8;
const CHECK_CONTEXT: &str = "vault/check_value/1";
const CHECK_PLAINTEXT: &[u8] = b"openset vault";

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
pub struct Vault {
    keys: Arc<Keys>,
}

struct Keys {
    seal: Zeroizing<[u8; 32]>,
    index: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault [redacted]")
    }
}

impl Vault {
    /// Derives the keys from the passphrase. The first start on a database fixes which passphrase
    /// that is; when replicas make that start together, one of them fixes it for all.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`], [`VaultError::EmptyPassphrase`], or the database's failure.
    pub async fn unlock(db: &Db, passphrase: &SecretString) -> Result<Self, VaultError> {
        if passphrase.expose_secret().is_empty() {
            return Err(VaultError::EmptyPassphrase);
        }
        let stored = Derivation::find(&mut *db.read().await?).await?;
        if let Some(derivation) = stored {
            return derivation.unlock(passphrase).await;
        }
        let fresh = Derivation::fresh();
        let vault = fresh.derive(passphrase).await?;
        let check_value = vault.seal(CHECK_CONTEXT, CHECK_PLAINTEXT);
        let mut tx = db.begin().await?;
        let first = fresh.insert(&mut tx, &check_value).await?;
        tx.commit().await?;
        if first {
            return Ok(vault);
        }
        match Derivation::find(&mut *db.read().await?).await? {
            Some(winner) => winner.unlock(passphrase).await,
            None => Err(VaultError::Parameters),
        }
    }

    /// As [`Vault::unlock`], of a database that is only read; None where nothing was ever sealed in it.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`], or the database's failure.
    pub async fn unlock_to_read(
        conn: &mut AnyConnection,
        passphrase: &SecretString,
    ) -> Result<Option<Self>, VaultError> {
        match Derivation::find(conn).await? {
            Some(derivation) => derivation.unlock(passphrase).await.map(Some),
            None => Ok(None),
        }
    }

    /// Seals `plaintext` for one place in the database: a format byte, a random nonce, ciphertext
    /// and tag. The key is the context's own, so the bound of 2^32 random nonces holds per row.
    #[must_use]
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Vec<u8> {
        self.seal_after(&[FORMAT], context, plaintext)
    }

    /// Seals what was packed; [`Vault::open`] unpacks it.
    pub(crate) fn seal_packed(&self, context: &str, packed: &[u8]) -> Vec<u8> {
        let mut begin = vec![FORMAT_PACKED];
        begin.extend_from_slice(&packed::sample_of(packed).to_be_bytes());
        self.seal_after(&begin, context, packed)
    }

    fn seal_after(&self, begin: &[u8], context: &str, plaintext: &[u8]) -> Vec<u8> {
        let iv: [u8; IV_LEN] = random();
        let ciphertext = provider()
            .seal_aes_256_gcm(
                &self.context_key(context),
                &iv,
                context.as_bytes(),
                plaintext,
            )
            .expect("a value that fits into memory is below AES-GCM's limit of 64 GiB");
        let mut sealed = Vec::with_capacity(begin.len() + IV_LEN + ciphertext.len());
        sealed.extend_from_slice(begin);
        sealed.extend_from_slice(&iv);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`Vault::seal`] made for the same context.
    ///
    /// # Errors
    /// [`VaultError::Unopened`], whatever the reason.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (is_packed, rest) = match sealed.split_first() {
            Some((&FORMAT, rest)) => (false, rest),
            Some((&FORMAT_PACKED, rest)) => {
                let rest = rest.get(SAMPLE_ID_LEN..).ok_or(VaultError::Unopened)?;
                (true, rest)
            }
            _ => return Err(VaultError::Unopened),
        };
        let Some((iv, ciphertext)) = rest.split_first_chunk::<IV_LEN>() else {
            return Err(VaultError::Unopened);
        };
        if ciphertext.len() < TAG_LEN {
            return Err(VaultError::Unopened);
        }
        let plain = provider()
            .open_aes_256_gcm(
                &self.context_key(context),
                iv,
                context.as_bytes(),
                ciphertext,
            )
            .map_err(|_| VaultError::Unopened)?;
        if !is_packed {
            return Ok(plain);
        }
        if Self::sample_of(sealed) != Some(packed::sample_of(&plain)) {
            return Err(VaultError::Unopened);
        }
        let unpacked = packed::unpack_known(&plain, Some(self));
        unpacked.ok_or(VaultError::Unopened)
    }

    /// A keyed digest to look a secret value up by, for example a card number: equal values give
    /// equal digests within a context, and nobody without the key can try out card numbers.
    #[must_use]
    pub fn index(&self, context: &str, value: &[u8]) -> [u8; 32] {
        let key: Zeroizing<[u8; 32]> = hkdf_sha256(
            b"openset/2/vault/context",
            &*self.keys.index,
            context.as_bytes(),
        );
        hmac_sha256(&*key, value)
    }

    /// The sample that a sealed value needs to be opened.
    pub(crate) fn sample_of(sealed: &[u8]) -> Option<i64> {
        let (&FORMAT_PACKED, rest) = sealed.split_first()? else {
            return None;
        };
        rest.first_chunk().map(|id| i64::from_be_bytes(*id))
    }

    fn context_key(&self, context: &str) -> Zeroizing<[u8; 32]> {
        hkdf_sha256(
            b"openset/2/vault/context",
            &*self.keys.seal,
            context.as_bytes(),
        )
    }
}

/// How the keys come from the passphrase, as stored in the one row of table `vault`.
struct Derivation {
    salt: Vec<u8>,
    params: scrypt::Params,
    check_value: Vec<u8>,
}

impl Derivation {
    fn fresh() -> Self {
        Self {
            salt: random::<SALT_LEN>().to_vec(),
            params: scrypt::Params::new(LOG_N, R, P).expect("the constants are in scrypt's range"),
            check_value: Vec::new(),
        }
    }

    async fn find(conn: &mut AnyConnection) -> Result<Option<Self>, VaultError> {
        let row = sqlx::query("SELECT salt, log_n, r, p, check_value FROM vault WHERE id = $1")
            .bind(1_i64)
            .fetch_optional(conn)
            .await
            .map_err(StoreError::from)?;
        row.as_ref().map(Self::read).transpose()
    }

    fn read(row: &AnyRow) -> Result<Self, VaultError> {
        let number = |column: usize| row.try_get::<i64, _>(column).map_err(StoreError::from);
        let log_n = u8::try_from(number(1)?).ok().filter(|n| *n <= LOG_N_MAX);
        let r = u32::try_from(number(2)?).ok().filter(|r| *r <= R_MAX);
        let p = u32::try_from(number(3)?).ok().filter(|p| *p <= P_MAX);
        let (Some(log_n), Some(r), Some(p)) = (log_n, r, p) else {
            return Err(VaultError::Parameters);
        };
        Ok(Self {
            salt: row.try_get(0).map_err(StoreError::from)?,
            params: scrypt::Params::new(log_n, r, p).map_err(|_| VaultError::Parameters)?,
            check_value: row.try_get(4).map_err(StoreError::from)?,
        })
    }

    /// `false`: another replica was first, and its row is the one that counts.
    async fn insert(&self, tx: &mut Tx, check_value: &[u8]) -> Result<bool, VaultError> {
        let done = sqlx::query(
            "INSERT INTO vault (id, salt, log_n, r, p, check_value) \
             VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(self.salt.as_slice())
        .bind(i64::from(LOG_N))
        .bind(i64::from(R))
        .bind(i64::from(P))
        .bind(check_value)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::from)?;
        Ok(done.rows_affected() == 1)
    }

    async fn unlock(&self, passphrase: &SecretString) -> Result<Vault, VaultError> {
        let vault = self.derive(passphrase).await?;
        match vault.open(CHECK_CONTEXT, &self.check_value) {
            Ok(_) => Ok(vault),
            Err(_) => Err(VaultError::WrongPassphrase),
        }
    }

    /// Off the async workers: scrypt is slow on purpose.
    async fn derive(&self, passphrase: &SecretString) -> Result<Vault, VaultError> {
        let passphrase = passphrase.clone();
        let salt = self.salt.clone();
        let params = self.params;
        let derived = tokio::task::spawn_blocking(move || {
            let mut master = Zeroizing::new([0; 32]);
            scrypt::scrypt(
                passphrase.expose_secret().as_bytes(),
                &salt,
                &params,
                &mut *master,
            )
            .map(|()| master)
        });
        let master = derived
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(VaultError::Parameters)?;
        Ok(Vault {
            keys: Arc::new(Keys {
                seal: hkdf_sha256(b"openset/2/vault", &*master, b"seal"),
                index: hkdf_sha256(b"openset/2/vault", &*master, b"index"),
            }),
        })
    }
}

fn provider() -> &'static dyn Provider {
    default_provider()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("no secret can be kept without the system's random source");
    bytes
}
