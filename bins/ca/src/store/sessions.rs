//! Registrations under way. Whoever asks can begin one, so they are bounded in number and in time,
//! and each keeps one answer alone: that to its last message, which may be sent again.

use openset_protocol::ca::Session;
use openset_protocol::ids::LocalId;
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

/// How many registrations may be under way; the oldest give way to new ones.
pub(crate) const SESSIONS_MAX: i64 = 2_000;
/// How long a registration may take from one message to the next, in seconds.
pub(crate) const SESSION_SECONDS: i64 = 3_600;

/// A session as stored; its version guards its change.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) session: Session,
    version: i64,
}

/// A message and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    /// SHA-256 of the message's bytes.
    pub(crate) digest: &'a [u8; 32],
    /// The answer's bytes.
    pub(crate) response: &'a [u8],
}

/// The answer to these bytes, if they were the last message of a session.
pub(crate) async fn answer_to(
    conn: &mut AnyConnection,
    digest: &[u8; 32],
) -> Result<Option<Vec<u8>>, StoreError> {
    let found =
        sqlx::query_scalar("SELECT answered_response FROM sessions WHERE answered_digest = $1")
            .bind(&digest[..])
            .fetch_optional(conn)
            .await?;
    Ok(found)
}

/// Begins a session; says whether it did. It did not if the same message was answered before.
pub(crate) async fn begin(
    tx: &mut Tx,
    session: &Session,
    answered: Answered<'_>,
    now_s: i64,
) -> Result<bool, StoreError> {
    make_room(tx).await?;
    let done = sqlx::query(
        "INSERT INTO sessions (lid_ca, state, version, answered_digest, answered_response, expires_at_s) \
         VALUES ($1, $2, 1, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(session.lid_ca().as_str())
    .bind(encode(session)?)
    .bind(&answered.digest[..])
    .bind(answered.response)
    .bind(now_s.saturating_add(SESSION_SECONDS))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn make_room(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM sessions WHERE lid_ca IN (SELECT lid_ca FROM sessions \
         ORDER BY expires_at_s DESC, lid_ca LIMIT 100 OFFSET $1)",
    )
    .bind(SESSIONS_MAX.saturating_sub(1))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The session of this name, unless its time is over.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    lid_ca: &LocalId,
    now_s: i64,
) -> Result<Option<Stored>, StoreError> {
    let row =
        sqlx::query("SELECT state, version FROM sessions WHERE lid_ca = $1 AND expires_at_s > $2")
            .bind(lid_ca.as_str())
            .bind(now_s)
            .fetch_optional(conn)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let state: String = row.try_get(0)?;
    let session =
        serde_json::from_str(&state).map_err(|_| StoreError::Corrupt("sessions.state"))?;
    Ok(Some(Stored {
        session,
        version: row.try_get(1)?,
    }))
}

/// Puts the next state in place of the one found, with the message that led to it and its answer; says
/// whether it did. It did not if another message was faster.
pub(crate) async fn go_on(
    tx: &mut Tx,
    from: &Stored,
    to: &Session,
    answered: Answered<'_>,
    now_s: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE sessions SET state = $1, version = version + 1, answered_digest = $2, \
         answered_response = $3, expires_at_s = $4 WHERE lid_ca = $5 AND version = $6",
    )
    .bind(encode(to)?)
    .bind(&answered.digest[..])
    .bind(answered.response)
    .bind(now_s.saturating_add(SESSION_SECONDS))
    .bind(to.lid_ca().as_str())
    .bind(from.version)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a session; says whether it was still there as found.
pub(crate) async fn end(tx: &mut Tx, from: &Stored) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM sessions WHERE lid_ca = $1 AND version = $2")
        .bind(from.session.lid_ca().as_str())
        .bind(from.version)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes sessions whose time is over.
pub(crate) async fn purge(tx: &mut Tx, now_s: i64) -> Result<u64, StoreError> {
    let done = sqlx::query("DELETE FROM sessions WHERE expires_at_s <= $1")
        .bind(now_s)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}

fn encode(session: &Session) -> Result<String, StoreError> {
    serde_json::to_string(session)
        .map_err(|_| StoreError::Conflict("a session could not be written"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use openset_protocol::ca::AwaitingRegFormReq;
    use openset_store::Db;

    fn session(number: i64) -> Session {
        Session::AwaitingRegFormReq(AwaitingRegFormReq {
            lid_ee: "wallet".parse().unwrap(),
            lid_ca: number.to_string().parse().unwrap(),
            brand_id: "Visa".parse().unwrap(),
        })
    }

    async fn begin_at(tx: &mut Tx, number: i64) -> bool {
        let digest = openset_jose::sha256(&number.to_be_bytes());
        let answered = Answered {
            digest: &digest,
            response: b"answer",
        };
        begin(tx, &session(number), answered, number).await.unwrap()
    }

    #[tokio::test]
    async fn the_oldest_sessions_give_way_and_none_outlives_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let url = openset_store::sqlite_url(&folder.path().join("ca.db"));
        let db = Db::open(&url, crate::store::MIGRATIONS).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        for number in 0..SESSIONS_MAX + 10 {
            assert!(begin_at(&mut tx, number).await);
        }
        assert!(
            !begin_at(&mut tx, SESSIONS_MAX).await,
            "the same message begins no second session"
        );
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sessions")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert!(count <= SESSIONS_MAX);
        let lid = |number: i64| number.to_string().parse::<LocalId>().unwrap();
        assert!(find(&mut tx, &lid(0), 0).await.unwrap().is_none());
        let newest = SESSIONS_MAX + 9;
        assert!(find(&mut tx, &lid(newest), newest).await.unwrap().is_some());
        let over = newest + SESSION_SECONDS;
        assert!(find(&mut tx, &lid(newest), over).await.unwrap().is_none());
        purge(&mut tx, over).await.unwrap();
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sessions")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(count, 0);
    }

    #[tokio::test]
    async fn a_session_that_went_on_cannot_be_changed_from_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let url = openset_store::sqlite_url(&folder.path().join("ca.db"));
        let db = Db::open(&url, crate::store::MIGRATIONS).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        begin_at(&mut tx, 1).await;
        let found = find(&mut tx, session(1).lid_ca(), 1)
            .await
            .unwrap()
            .unwrap();
        let answered = Answered {
            digest: &[1; 32],
            response: b"next",
        };
        assert!(
            go_on(&mut tx, &found, &session(1), answered, 1)
                .await
                .unwrap()
        );
        assert!(
            !go_on(&mut tx, &found, &session(1), answered, 1)
                .await
                .unwrap()
        );
        assert!(!end(&mut tx, &found).await.unwrap());
        assert_eq!(
            answer_to(&mut tx, &[1; 32]).await.unwrap().as_deref(),
            Some(b"next".as_slice())
        );
    }
}
