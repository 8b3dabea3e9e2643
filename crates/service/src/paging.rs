//! Lists in pages: `?after=&limit=` in, `{"items": [...], "next": "..."}` out.
//!
//! A page goes on after a [`Place`], not after a number of items: what is added or changed meanwhile neither doubles an
//! item nor hides one. A list is ordered by a number (mostly a time) and, where that is equal, by an id:
//!
//! ```sql
//! WHERE $1 = '' OR (created_at_s, id) < ($2, $1) ORDER BY created_at_s DESC, id DESC LIMIT $3
//! ```
//!
//! with [`Asked::id`], [`Asked::at`] and [`Asked::rows`]; [`Asked::page`] makes the answer of what was found.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openset_protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::problem::Problem;

/// Items of a page unless the query says how many.
pub const LIMIT_DEFAULT: u16 = 50;
/// The most items of a page; who asks for more gets as many, and a `next`.
pub const LIMIT_MAX: u16 = 200;

/// Where an item stands in a list. As text it is opaque: callers give back what they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the list is ordered by.
    pub at: i64,
    /// What it is ordered by where that is equal. Never empty.
    pub id: String,
}

/// A text that is no [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a list; use the `next` of the page before, or leave `after` out")]
pub struct NotAPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = format!("{}/{}", self.at, self.id);
        f.write_str(&URL_SAFE_NO_PAD.encode(plain))
    }
}

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let plain = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAPlace)?;
        let plain = String::from_utf8(plain).map_err(|_| NotAPlace)?;
        let (at, id) = plain.split_once('/').ok_or(NotAPlace)?;
        let place = Self {
            at: at.parse().map_err(|_| NotAPlace)?,
            id: id.to_owned(),
        };
        // One text for each place, and no bytes that a database does not take.
        let sound = !id.is_empty() && !id.contains('\0') && place.to_string() == text;
        sound.then_some(place).ok_or(NotAPlace)
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    after: Option<Place>,
    limit: u16,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// The `after` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Asked {
    /// What `after` and `limit` of a query ask for.
    ///
    /// # Errors
    /// 400 when `after` is no page's `next`.
    pub fn new(after: Option<&str>, limit: Option<u16>) -> Result<Self, Problem> {
        let after = after.map(str::parse).transpose();
        let after = after.map_err(|error: NotAPlace| {
            Problem::bad_request("after-unusable", error.to_string())
        })?;
        Ok(Self {
            after,
            limit: limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        })
    }

    /// The id after which the page begins; empty for the first page.
    #[must_use]
    pub fn id(&self) -> &str {
        self.after.as_ref().map_or("", |place| &place.id)
    }

    /// The number after which the page begins; 0 for the first page.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.after.as_ref().map_or(0, |place| place.at)
    }

    /// How many rows to look for: one more than are shown tells that there is a next page.
    #[must_use]
    pub fn rows(&self) -> i64 {
        i64::from(self.limit).saturating_add(1)
    }

    /// The page that the found rows make.
    pub fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        place: impl FnOnce(&R) -> Place,
        show: impl FnMut(R) -> T,
    ) -> Page<T> {
        let limit = usize::from(self.limit);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        Page {
            next: last.map(|last| place(last).to_string()),
            items: rows.into_iter().map(show).collect(),
        }
    }
}

/// From the midnight before `from` to the one after `to`, in seconds since 1970 (UTC); all time where they are left out.
///
/// # Errors
/// 400 when one is no day.
pub fn days(from: Option<&str>, to: Option<&str>) -> Result<(i64, i64), Problem> {
    const DAY_S: i64 = 24 * 60 * 60;
    let midnight = |day: &str| {
        let at: Option<Timestamp> = format!("{day}T00:00:00Z").parse().ok();
        at.map(Timestamp::seconds).ok_or_else(|| {
            Problem::bad_request(
                "day-unusable",
                "write days as YYYY-MM-DD, for example 2026-11-30",
            )
        })
    };
    let from_s = from.map_or(Ok(i64::MIN), midnight)?;
    let last_s = to.map(midnight).transpose()?;
    let until_s = last_s.map_or(i64::MAX, |at| at.saturating_add(DAY_S));
    Ok((from_s, until_s))
}

/// A query that is decoded, or refused with a [`Problem`] that repeats nothing of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(_) => Err(Problem::bad_request(
                "query-unusable",
                "the query has a parameter that is unknown, doubled or of a value that cannot be read; \
                 /openapi.json has the parameters of each route",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn place(at: i64) -> Place {
        Place {
            at,
            id: format!("b/{at}"),
        }
    }

    #[test]
    fn place_reads_what_it_writes_and_nothing_else() {
        let written = place(-7).to_string();
        assert_eq!(written.parse(), Ok(place(-7)));
        let wrong = [
            "".to_owned(),
            "7/b".to_owned(),
            format!("{written}="),
            format!("{written}A"),
            URL_SAFE_NO_PAD.encode("b/7"),
            URL_SAFE_NO_PAD.encode("7"),
            URL_SAFE_NO_PAD.encode("7/"),
            URL_SAFE_NO_PAD.encode("07/b"),
            URL_SAFE_NO_PAD.encode("7/b\0"),
            URL_SAFE_NO_PAD.encode([b'7', b'/', 0xff]),
        ];
        for wrong in wrong {
            assert_eq!(wrong.parse::<Place>(), Err(NotAPlace), "{wrong}");
        }
    }

    #[test]
    fn pages_show_every_item_once_and_the_last_has_no_next() {
        let list: Vec<i64> = (1..=7).collect();
        for limit in 1..=9 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let asked = Asked::new(after.as_deref(), Some(limit)).unwrap();
                let found = list.iter().filter(|at| **at > asked.at()).copied();
                let rows = usize::try_from(asked.rows()).unwrap();
                let page = asked.page(found.take(rows).collect(), |at| place(*at), |at| at);
                assert!(page.items.len() <= usize::from(limit));
                seen.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, list, "limit {limit}");
        }
    }

    #[test]
    fn days_are_taken_from_midnight_to_midnight() {
        let november = days(Some("2026-11-01"), Some("2026-11-30")).unwrap();
        assert_eq!(november, (1_793_491_200, 1_796_083_200));
        assert_eq!(days(None, None).unwrap(), (i64::MIN, i64::MAX));
        for wrong in [
            "",
            "2026-11",
            "2026-13-01",
            "2026-11-01T00:00:00Z",
            "01.11.2026",
        ] {
            assert_eq!(days(Some(wrong), None).unwrap_err().status, 400, "{wrong}");
            assert_eq!(days(None, Some(wrong)).unwrap_err().status, 400, "{wrong}");
        }
    }

    #[test]
    fn limit_is_fifty_unless_given_and_two_hundred_at_most() {
        let rows = |limit| Asked::new(None, limit).unwrap().rows();
        assert_eq!(
            [None, Some(0), Some(7), Some(201)].map(rows),
            [51, 2, 8, 201]
        );
        let first = Asked::new(None, None).unwrap();
        assert_eq!((first.at(), first.id()), (0, ""));
        let refused = Asked::new(Some("x"), None).unwrap_err();
        assert_eq!((refused.status, &*refused.code), (400, "after-unusable"));
    }
}
