//! Registrations that wait for an operator, and what became of them.

use openset_jose::Thumbprint;
use openset_pki::Role;
use openset_protocol::BrandId;
use openset_protocol::ca::cert::{Approved, Record};
use openset_protocol::ids::LocalId;
use openset_service::paging::Asked;
use openset_store::{StoreError, Tx, Vault};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use zeroize::Zeroizing;

use crate::error::CaError;
use crate::store::certificates::{self, text};

/// How long a registration waits for an operator at most, and how long what became of it can be asked.
pub(crate) const KEEP_SECONDS: i64 = 30 * 86_400;

/// How far a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// An operator has to decide.
    Pended,
    /// The certificates are issued.
    Issued,
    /// There will be no certificates.
    Rejected,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Pended => "pended",
            Self::Issued => "issued",
            Self::Rejected => "rejected",
        }
    }

    fn of(name: &str) -> Result<Self, StoreError> {
        [Self::Pended, Self::Issued, Self::Rejected]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or(StoreError::Corrupt("registrations.state"))
    }
}

/// A registration as stored.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) lid_ca: String,
    /// The issuing CA that was asked.
    pub(crate) authority: String,
    pub(crate) state: State,
    pub(crate) role: Role,
    pub(crate) brand: BrandId,
    pub(crate) organizational_unit: String,
    pub(crate) common_name: String,
    pub(crate) renews: Option<Thumbprint>,
    pub(crate) received_at_s: i64,
    pub(crate) decided_at_s: Option<i64>,
    sealed: Vec<u8>,
}

impl Registration {
    /// What CertInqReq is answered from.
    pub(crate) fn record(&self, vault: &Vault) -> Result<Record, CaError> {
        let plain = vault.open(&context(&self.lid_ca), &self.sealed)?;
        serde_json::from_slice(&plain)
            .map_err(|_| StoreError::Corrupt("registrations.record").into())
    }
}

fn context(lid_ca: &str) -> String {
    format!("registration/{lid_ca}")
}

fn seal(vault: &Vault, lid_ca: &str, record: &Record) -> Result<Vec<u8>, StoreError> {
    let plain = serde_json::to_vec(record)
        .map(Zeroizing::new)
        .map_err(|_| StoreError::Conflict("a registration could not be written"))?;
    Ok(vault.seal(&context(lid_ca), &plain))
}

/// Stores a registration that waits and reserves its keys; says whether it did. It did not if a key was
/// certified or reserved before, or another registration waits for the renewal of the same certificate.
pub(crate) async fn insert(
    tx: &mut Tx,
    vault: &Vault,
    authority: &str,
    (approved, record): (&Approved, &Record),
    now_s: i64,
) -> Result<bool, StoreError> {
    let lid_ca = approved.lid_ca().as_str();
    let thumbprint = |of: Option<Thumbprint>| of.map(|thumbprint| thumbprint.to_string());
    let done = sqlx::query(
        "INSERT INTO registrations (lid_ca, authority, state, role, brand, organizational_unit, common_name, \
         renews, signed_by, record, received_at_s, keep_until_s) \
         VALUES ($1, $2, 'pended', $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
    )
    .bind(lid_ca)
    .bind(authority)
    .bind(text(&approved.role())?)
    .bind(approved.brand().as_str())
    .bind(approved.organizational_unit())
    .bind(approved.common_name())
    .bind(thumbprint(approved.renews()))
    .bind(thumbprint(approved.signer()))
    .bind(seal(vault, lid_ca, record)?)
    .bind(now_s)
    .bind(now_s.saturating_add(KEEP_SECONDS))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1 && certificates::reserve(tx, &approved.keys(), lid_ca).await?)
}

const COLUMNS: &str = "SELECT lid_ca, authority, state, role, brand, organizational_unit, common_name, renews, \
                       received_at_s, decided_at_s, record FROM registrations";

/// The registration of this name.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    lid_ca: &LocalId,
    now_s: i64,
) -> Result<Option<Registration>, StoreError> {
    let sql = format!("{COLUMNS} WHERE lid_ca = $1 AND keep_until_s > $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(lid_ca.as_str())
        .bind(now_s)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Registrations, oldest first.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    state: Option<State>,
    asked: &Asked,
) -> Result<Vec<Registration>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE ($1 = '' OR state = $1) AND ($2 = '' OR (received_at_s, lid_ca) > ($4, $2)) \
         ORDER BY received_at_s, lid_ca LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(state.map(State::name).unwrap_or_default())
        .bind(asked.id())
        .bind(asked.rows())
        .bind(asked.at())
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// Registrations that wait and have no key reserved: the journal has brought certificates for theirs.
pub(crate) async fn without_keys(
    conn: &mut AnyConnection,
) -> Result<Vec<Registration>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE state = 'pended' AND NOT EXISTS \
         (SELECT 1 FROM certified_keys WHERE reserved_for = registrations.lid_ca) ORDER BY lid_ca"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// Ends a registration that waits; says whether it still did. Its keys are free then.
pub(crate) async fn decide(
    tx: &mut Tx,
    vault: &Vault,
    lid_ca: &str,
    (state, record): (State, &Record),
    now_s: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE registrations SET state = $1, record = $2, decided_at_s = $3, keep_until_s = $4 \
         WHERE lid_ca = $5 AND state = 'pended'",
    )
    .bind(state.name())
    .bind(seal(vault, lid_ca, record)?)
    .bind(now_s)
    .bind(now_s.saturating_add(KEEP_SECONDS))
    .bind(lid_ca)
    .execute(&mut **tx)
    .await?;
    certificates::release(tx, lid_ca).await?;
    Ok(done.rows_affected() == 1)
}

/// Rejects what waits for certificates on the strength of one that is revoked; says how many.
pub(crate) async fn reject_for(
    tx: &mut Tx,
    vault: &Vault,
    certificate: &Thumbprint,
    now_s: i64,
) -> Result<usize, CaError> {
    let sql = format!("{COLUMNS} WHERE state = 'pended' AND (renews = $1 OR signed_by = $1)");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(certificate.to_string())
        .fetch_all(&mut **tx)
        .await
        .map_err(StoreError::from)?;
    for row in &rows {
        let waiting = read(row)?;
        let record = waiting.record(vault)?.reject(REVOKED);
        let _ = decide(
            tx,
            vault,
            &waiting.lid_ca,
            (State::Rejected, &record),
            now_s,
        )
        .await?;
    }
    Ok(rows.len())
}

/// What applicants are told whose certificate was revoked meanwhile.
pub(crate) const REVOKED: &str = "The certificate that was shown is revoked.";

/// Removes what was kept long enough, decided or not.
pub(crate) async fn purge(tx: &mut Tx, now_s: i64) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM certified_keys WHERE reserved_for IN \
         (SELECT lid_ca FROM registrations WHERE keep_until_s <= $1)",
    )
    .bind(now_s)
    .execute(&mut **tx)
    .await?;
    let done = sqlx::query("DELETE FROM registrations WHERE keep_until_s <= $1")
        .bind(now_s)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}

fn read(row: &AnyRow) -> Result<Registration, StoreError> {
    let thumbprint = |text: Option<String>| {
        let parse = |text: String| text.parse();
        text.map(parse)
            .transpose()
            .map_err(|_| StoreError::Corrupt("registrations.renews"))
    };
    let role: String = row.try_get(3)?;
    let brand: String = row.try_get(4)?;
    Ok(Registration {
        lid_ca: row.try_get(0)?,
        authority: row.try_get(1)?,
        state: State::of(&row.try_get::<String, _>(2)?)?,
        role: serde_json::from_value(role.into())
            .map_err(|_| StoreError::Corrupt("registrations.role"))?,
        brand: brand
            .parse()
            .map_err(|_| StoreError::Corrupt("registrations.brand"))?,
        organizational_unit: row.try_get(5)?,
        common_name: row.try_get(6)?,
        renews: thumbprint(row.try_get(7)?)?,
        received_at_s: row.try_get(8)?,
        decided_at_s: row.try_get(9)?,
        sealed: row.try_get(10)?,
    })
}
