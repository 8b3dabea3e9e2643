//! The long texts of a merchant's authorizations, which stand packed in its tables, or in rows of before as they are.

use openset_store::sqlx::Row as _;
use openset_store::sqlx::any::AnyRow;

use super::source::Source;

/// Of one authorization.
pub(super) struct Texts {
    /// What the gateway was asked, as JSON.
    pub(super) asked: String,
    /// What it signed.
    pub(super) auth_res: Option<String>,
    /// What came with it, as JSON, with the newest receipt.
    pub(super) baggage: Option<String>,
}

impl Texts {
    /// Of a row that has auth_res, baggage and awaiting from column 6, and from 12, if the tables have them, answer,
    /// baggage_packed and asked.
    pub(super) async fn read(source: &mut Source, row: &AnyRow) -> anyhow::Result<Self> {
        let (auth_res, baggage, asked) = (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
        if !source.has(202) {
            let asked: Option<String> = asked;
            return Ok(Self {
                asked: asked.unwrap_or_default(),
                auth_res,
                baggage,
            });
        }
        let answer = source.text(row.try_get(12)?, None).await?;
        let parts = answer.as_deref();
        let parts = parts.map(|answer| answer.split_once('\n').unwrap_or((answer, "")));
        let (signed, came_with) = parts.unzip();
        let baggage = baggage.or(came_with.map(str::to_owned));
        Ok(Self {
            asked: source
                .text(row.try_get(14)?, asked)
                .await?
                .unwrap_or_default(),
            auth_res: signed.map(str::to_owned).or(auth_res),
            baggage: source.text(row.try_get(13)?, baggage).await?,
        })
    }
}
