//! What was certified: for others, and for the CAs themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_jose::Thumbprint;
use openset_pki::authority::{RevocationReason, Revoked};
use openset_pki::{Certificate, Role};
use openset_protocol::BrandId;
use openset_protocol::ca::cert::Shown;
use openset_protocol::ids::ExactBytes;
use openset_store::{StoreError, Tx};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::journal::{Event, RecordedTx};
use crate::store::authorities;

/// A certificate as stored.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The CA that issued it.
    pub(crate) authority: String,
    /// The CA whose own it is.
    pub(crate) owner: Option<String>,
    pub(crate) certificate: Certificate,
    pub(crate) issued_at_s: i64,
    pub(crate) revoked_at_s: Option<i64>,
    pub(crate) revocation_reason: Option<RevocationReason>,
    /// Whether the CA whose own it is was retired.
    pub(crate) owner_retired: bool,
}

/// A serial number as it is shown and stored.
pub(crate) fn serial(certificate: &Certificate) -> String {
    hex::encode(certificate.serial())
}

/// How an applicant came by a certificate: thumbprints of what it showed, and what the answer needs if it is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// The certificate that was renewed. Of each purpose one certificate alone comes of it.
    pub(crate) renews: Option<Thumbprint>,
    /// The certificate that signed.
    pub(crate) signed_by: Option<Thumbprint>,
    /// For a cardholder's certificate: NonceCCA, as [`super::earlier`] sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nonce_cca: Option<ExactBytes>,
}

/// Whether one of these keys was certified, or is to be.
pub(crate) async fn any_certified(
    conn: &mut AnyConnection,
    keys: &[Thumbprint],
) -> Result<bool, StoreError> {
    for key in keys {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM certified_keys WHERE key_thumbprint = $1")
                .bind(key.to_string())
                .fetch_optional(&mut *conn)
                .await?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a certificate was renewed, or is to be.
pub(crate) async fn renewed(
    conn: &mut AnyConnection,
    certificate: &Thumbprint,
) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM certificates WHERE renews = $1 \
         UNION SELECT 1 FROM registrations WHERE renews = $1 AND state = 'pended'",
    )
    .bind(certificate.to_string())
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
}

/// Reserves keys for a registration that waits; says whether all were free.
pub(crate) async fn reserve(
    tx: &mut Tx,
    keys: &[Thumbprint],
    lid_ca: &str,
) -> Result<bool, StoreError> {
    for key in keys {
        let done = sqlx::query(
            "INSERT INTO certified_keys (key_thumbprint, reserved_for) VALUES ($1, $2) \
             ON CONFLICT DO NOTHING",
        )
        .bind(key.to_string())
        .bind(lid_ca)
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives the keys of a registration free.
pub(crate) async fn release(tx: &mut Tx, lid_ca: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM certified_keys WHERE reserved_for = $1")
        .bind(lid_ca)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives a key free that is reserved for a registration that waits.
pub(crate) async fn release_key(tx: &mut Tx, key: &str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM certified_keys WHERE key_thumbprint = $1 AND reserved_for IS NOT NULL",
    )
    .bind(key)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets a certificate that was never issued: its transaction was not committed.
pub(crate) async fn forget(tx: &mut Tx, serial: &str, key: &str) -> Result<(), StoreError> {
    for (sql, name) in [
        ("DELETE FROM certificates WHERE serial = $1", serial),
        ("DELETE FROM certified_keys WHERE key_thumbprint = $1", key),
    ] {
        sqlx::query(sql).bind(name).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Whether a certificate of ours is not revoked. Until the transaction ends nobody can revoke it.
pub(crate) async fn hold_unrevoked(tx: &mut Tx, serial: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE certificates SET serial = serial WHERE serial = $1 AND revoked_at_s IS NULL",
    )
    .bind(serial)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// As [`hold_unrevoked`], for all that an applicant has shown.
pub(crate) async fn hold_all_unrevoked(tx: &mut Tx, shown: &[Shown]) -> Result<bool, StoreError> {
    for certificate in shown {
        if !hold_unrevoked(tx, &hex::encode(&certificate.serial.0)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Records certificates for an applicant; says whether it did. It did not as in [`insert`], or if what the
/// applicant has shown is revoked by now.
pub(crate) async fn issue(
    tx: &mut RecordedTx,
    authority: &str,
    certificates: &[Certificate],
    (shown, origin): (&[Shown], &Origin),
    now_s: i64,
) -> Result<bool, StoreError> {
    if !hold_all_unrevoked(tx, shown).await? {
        return Ok(false);
    }
    for certificate in certificates {
        if !insert(tx, authority, certificate, origin, now_s).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Serial numbers of the certificates that an applicant came by with this one and that are not revoked.
pub(crate) async fn come_of(
    conn: &mut AnyConnection,
    certificate: &Thumbprint,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT serial FROM certificates WHERE (renews = $1 OR signed_by = $1) AND revoked_at_s IS NULL \
         ORDER BY serial",
    )
    .bind(certificate.to_string())
    .fetch_all(conn)
    .await?)
}

/// Records a certificate for somebody else; says whether it did. It did not if its key or serial number was
/// certified before, if what it renews was renewed before, or if the CA issues no more.
pub(crate) async fn insert(
    tx: &mut RecordedTx,
    authority: &str,
    certificate: &Certificate,
    origin: &Origin,
    now_s: i64,
) -> Result<bool, StoreError> {
    if !authorities::issues(tx, authority).await? {
        return Ok(false);
    }
    record(tx, authority, None, certificate, origin, now_s).await
}

/// Records a certificate of a CA's own; says whether it did.
pub(crate) async fn insert_own(
    tx: &mut RecordedTx,
    authority: &str,
    owner: &str,
    certificate: &Certificate,
    now_s: i64,
) -> Result<bool, StoreError> {
    let none = Origin::default();
    record(tx, authority, Some(owner), certificate, &none, now_s).await
}

async fn record(
    tx: &mut RecordedTx,
    authority: &str,
    owner: Option<&str>,
    certificate: &Certificate,
    origin: &Origin,
    now_s: i64,
) -> Result<bool, StoreError> {
    let stored = store(tx, authority, owner, certificate, origin, now_s).await?;
    if stored {
        tx.record(Event::Certificate {
            authority: authority.to_owned(),
            owner: owner.map(str::to_owned),
            certificate: STANDARD.encode(certificate.der()),
            origin: origin.clone(),
            at_s: now_s,
        });
    }
    Ok(stored)
}

/// Stores a certificate's row; says whether it did.
pub(crate) async fn store(
    tx: &mut Tx,
    authority: &str,
    owner: Option<&str>,
    certificate: &Certificate,
    origin: &Origin,
    now_s: i64,
) -> Result<bool, StoreError> {
    let key = certificate.public_key().thumbprint().to_string();
    let free = sqlx::query(
        "INSERT INTO certified_keys (key_thumbprint) VALUES ($1) ON CONFLICT DO NOTHING",
    )
    .bind(&key)
    .execute(&mut **tx)
    .await?;
    if free.rows_affected() == 0 {
        return Ok(false);
    }
    let done = sqlx::query(
        "INSERT INTO certificates (serial, authority, owner, role, purpose, brand, key_thumbprint, certificate, \
         not_after_s, issued_at_s, renews, signed_by, nonce_cca) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
    )
    .bind(serial(certificate))
    .bind(authority)
    .bind(owner)
    .bind(text(&certificate.role())?)
    .bind(text(&certificate.purpose())?)
    .bind(certificate.brand().map(BrandId::as_str))
    .bind(key)
    .bind(certificate.der())
    .bind(certificate.not_after())
    .bind(now_s)
    .bind(origin.renews.map(|thumbprint| thumbprint.to_string()))
    .bind(origin.signed_by.map(|thumbprint| thumbprint.to_string()))
    .bind(origin.nonce_cca.as_ref().map(|sealed| sealed.0.clone()))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Fills in what can be searched by, for certificates from before that stood beside them.
pub(crate) async fn describe(tx: &mut Tx) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT serial, certificate FROM certificates WHERE role IS NULL")
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        let certificate = parse(&row.try_get::<Vec<u8>, _>(1)?)?;
        sqlx::query(
            "UPDATE certificates SET role = $1, purpose = $2, brand = $3 WHERE serial = $4",
        )
        .bind(text(&certificate.role())?)
        .bind(text(&certificate.purpose())?)
        .bind(certificate.brand().map(BrandId::as_str))
        .bind(row.try_get::<String, _>(0)?)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

const COLUMNS: &str = "SELECT authority, certificate, issued_at_s, revoked_at_s, revocation_reason, owner, \
                       (SELECT retired_at_s FROM authorities WHERE id = certificates.owner \
                       AND certificates.purpose <> 'ocsp_signing') FROM certificates";

/// What has become of a certificate.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// In force.
    Good,
    /// Run out.
    Expired,
    /// Revoked; it stays so when it has run out.
    Revoked,
    /// A CA's that was renewed: in force, for what it issued before. Its OCSP responder's are not.
    Retired,
}

impl Status {
    /// The status as it is shown.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Retired => "retired",
        }
    }
}

impl Issued {
    /// What has become of it by now.
    pub(crate) fn status(&self, now_s: i64) -> Status {
        if self.revoked_at_s.is_some() {
            Status::Revoked
        } else if self.certificate.not_after() < now_s {
            Status::Expired
        } else if self.owner_retired {
            Status::Retired
        } else {
            Status::Good
        }
    }

    /// Whole days until it runs out; negative when it has.
    pub(crate) fn days_left(&self, now_s: i64) -> i64 {
        days_left(self.certificate.not_after(), now_s)
    }
}

/// Whole days until a moment; negative when it has passed.
pub(crate) fn days_left(end_s: i64, now_s: i64) -> i64 {
    end_s.saturating_sub(now_s).div_euclid(86_400)
}

/// Which certificates are looked for; all that is absent does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) role: Option<Role>,
    pub(crate) brand: Option<BrandId>,
    pub(crate) status: Option<Status>,
    /// Those that are neither revoked nor run out, and do so before this moment. OCSP responders' are left out:
    /// they live for days and are renewed unasked.
    pub(crate) expiring_before_s: Option<i64>,
    /// Those of CAs alone.
    pub(crate) own: bool,
}

impl Filter {
    /// The condition, which takes the present from `$3`.
    fn sql(&self) -> String {
        let mut all = vec!["1 = 1".to_owned()];
        let mut and = |condition: &str| all.push(condition.to_owned());
        if self.own {
            and("owner IS NOT NULL");
        }
        if self.role.is_some() {
            and("role = $4");
        }
        if self.brand.is_some() {
            and("brand = $5");
        }
        if self.expiring_before_s.is_some() {
            and(
                "revoked_at_s IS NULL AND not_after_s >= $3 AND not_after_s < $6 \
                 AND purpose <> 'ocsp_signing'",
            );
        }
        let retired = "EXISTS (SELECT 1 FROM authorities WHERE authorities.id = certificates.owner \
                       AND retired_at_s IS NOT NULL AND certificates.purpose <> 'ocsp_signing')";
        match self.status {
            None => {}
            Some(Status::Revoked) => and("revoked_at_s IS NOT NULL"),
            Some(Status::Expired) => and("revoked_at_s IS NULL AND not_after_s < $3"),
            Some(Status::Retired) => and(&format!(
                "revoked_at_s IS NULL AND not_after_s >= $3 AND {retired}"
            )),
            Some(Status::Good) => and(&format!(
                "revoked_at_s IS NULL AND not_after_s >= $3 AND NOT {retired}"
            )),
        }
        all.join(" AND ")
    }
}

/// Certificates in the order in which they were issued, so many after the time and serial number of one, or from the first
/// where that is empty.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    filter: &Filter,
    (after_s, after): (i64, &str),
    limit: i64,
    now_s: i64,
) -> Result<Vec<Issued>, StoreError> {
    // Every parameter stands there once at least, for PostgreSQL wants to know of what type each is.
    let sql = format!(
        "{COLUMNS} WHERE ($1 = '' OR (issued_at_s, serial) > ($7, $1)) \
         AND $3 >= 0 AND $4 <> '-' AND $5 <> '-' AND $6 >= 0 AND {} \
         ORDER BY issued_at_s, serial LIMIT $2",
        filter.sql()
    );
    let role = filter.role.map(|role| text(&role)).transpose()?;
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after)
        .bind(limit)
        .bind(now_s)
        .bind(role.unwrap_or_default())
        .bind(
            filter
                .brand
                .as_ref()
                .map(BrandId::as_str)
                .unwrap_or_default(),
        )
        .bind(filter.expiring_before_s.unwrap_or_default())
        .bind(after_s)
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// The certificate with this serial number.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    serial: &str,
) -> Result<Option<Issued>, StoreError> {
    let sql = format!("{COLUMNS} WHERE serial = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(serial)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read).transpose()
}

/// How many CAs of this name have a certificate here, whatever became of it.
pub(crate) async fn authorities_named(
    conn: &mut AnyConnection,
    subject_der: &[u8],
) -> Result<usize, StoreError> {
    let all: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT certificate FROM certificates WHERE purpose = 'certificate_signing'",
    )
    .fetch_all(conn)
    .await?;
    let mut count = 0_usize;
    for der in &all {
        count = count.saturating_add(usize::from(parse(der)?.subject_der() == subject_der));
    }
    Ok(count)
}

/// Marks a certificate as revoked; says whether it was not so before.
pub(crate) async fn revoke(
    tx: &mut RecordedTx,
    serial: &str,
    reason: RevocationReason,
    now_s: i64,
) -> Result<bool, StoreError> {
    let newly = mark_revoked(tx, serial, reason, now_s).await?;
    if newly {
        tx.record(Event::Revoked {
            serial: serial.to_owned(),
            reason,
            at_s: now_s,
        });
    }
    Ok(newly)
}

/// As [`revoke`], without a line in the journal: it comes from there.
pub(crate) async fn mark_revoked(
    tx: &mut Tx,
    serial: &str,
    reason: RevocationReason,
    now_s: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE certificates SET revoked_at_s = $1, revocation_reason = $2 WHERE serial = $3 AND revoked_at_s IS NULL",
    )
    .bind(now_s)
    .bind(text(&reason)?)
    .bind(serial)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps that a CA's published list revokes a number that is not known here; says whether that was new.
pub(crate) async fn mark_unknown_revoked(
    tx: &mut Tx,
    authority: &str,
    line: &Revoked,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO unknown_revocations (authority, serial, revoked_at_s, revocation_reason) \
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(authority)
    .bind(hex::encode(&line.serial))
    .bind(line.at)
    .bind(text(&line.reason)?)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The lines of a CA's CRL: what was revoked and has not run out.
pub(crate) async fn revoked(
    conn: &mut AnyConnection,
    authority: &str,
    now_s: i64,
) -> Result<Vec<Revoked>, StoreError> {
    let rows = sqlx::query(
        "SELECT serial, revoked_at_s, revocation_reason FROM certificates \
         WHERE authority = $1 AND revoked_at_s IS NOT NULL AND not_after_s >= $2 \
         UNION ALL SELECT serial, revoked_at_s, revocation_reason FROM unknown_revocations \
         WHERE authority = $1 ORDER BY serial",
    )
    .bind(authority)
    .bind(now_s)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let serial: String = row.try_get(0)?;
            Ok(Revoked {
                serial: hex::decode(serial)
                    .map_err(|_| StoreError::Corrupt("certificates.serial"))?,
                at: row.try_get(1)?,
                reason: reason(&row.try_get::<String, _>(2)?)?,
            })
        })
        .collect()
}

fn read(row: &AnyRow) -> Result<Issued, StoreError> {
    let der: Vec<u8> = row.try_get(1)?;
    let stored_reason: Option<String> = row.try_get(4)?;
    Ok(Issued {
        authority: row.try_get(0)?,
        owner: row.try_get(5)?,
        owner_retired: row.try_get::<Option<i64>, _>(6)?.is_some(),
        certificate: parse(&der)?,
        issued_at_s: row.try_get(2)?,
        revoked_at_s: row.try_get(3)?,
        revocation_reason: stored_reason.as_deref().map(reason).transpose()?,
    })
}

pub(super) fn parse(der: &[u8]) -> Result<Certificate, StoreError> {
    Certificate::from_der(der).map_err(|_| StoreError::Corrupt("certificates.certificate"))
}

/// A role, purpose or reason by its name.
pub(crate) fn text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    let unwritable = || StoreError::Conflict("a name could not be written");
    let text = serde_json::to_value(value).map_err(|_| unwritable())?;
    text.as_str().map(str::to_owned).ok_or_else(unwritable)
}

fn reason(text: &str) -> Result<RevocationReason, StoreError> {
    serde_json::from_value(text.into())
        .map_err(|_| StoreError::Corrupt("certificates.revocation_reason"))
}
