//! Regions, and the counter that tells of changes to the hierarchy.

use openset_protocol::card::Bin;
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

/// A region that CAs are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    /// Its name in URLs.
    pub(crate) slug: String,
    /// Its name in certificates.
    pub(crate) name: String,
    /// BINs of the cards that it serves; all if empty.
    pub(crate) bins: Vec<Bin>,
}

/// All regions; the first is the default.
pub(crate) async fn all(conn: &mut AnyConnection) -> Result<Vec<Region>, StoreError> {
    let rows = sqlx::query("SELECT slug, name, bins FROM regions ORDER BY place, slug")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let bins: String = row.try_get(2)?;
            Ok(Region {
                slug: row.try_get(0)?,
                name: row.try_get(1)?,
                bins: serde_json::from_str(&bins)
                    .map_err(|_| StoreError::Corrupt("regions.bins"))?,
            })
        })
        .collect()
}

/// Adds a region after all others, or gives one that is there its new BINs; says whether that changed
/// anything.
pub(crate) async fn put(tx: &mut Tx, region: &Region) -> Result<bool, StoreError> {
    let bins: Vec<&str> = region.bins.iter().map(Bin::as_str).collect();
    let bins = serde_json::to_string(&bins)
        .map_err(|_| StoreError::Conflict("a region's BINs could not be written"))?;
    let done = sqlx::query(
        "INSERT INTO regions (slug, name, place, bins) \
         VALUES ($1, $2, (SELECT COALESCE(MAX(place), 0) + 1 FROM regions), $3) \
         ON CONFLICT (slug) DO UPDATE SET bins = excluded.bins WHERE regions.bins <> excluded.bins",
    )
    .bind(&region.slug)
    .bind(&region.name)
    .bind(bins)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How often the hierarchy was changed.
pub(crate) async fn version(conn: &mut AnyConnection) -> Result<i64, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT value FROM counters WHERE name = 'hierarchy'")
            .fetch_one(conn)
            .await?,
    )
}

/// Tells all who serve the hierarchy that it has changed. It makes those who change it wait for each other.
pub(crate) async fn changed(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'hierarchy'")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// As [`changed`], if nobody else has changed the hierarchy since it was of this version; says so.
pub(crate) async fn change_from(tx: &mut Tx, version: i64) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE counters SET value = value + 1 WHERE name = 'hierarchy' AND value = $1",
    )
    .bind(version)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
