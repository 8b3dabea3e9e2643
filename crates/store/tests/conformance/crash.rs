//! `kill -9` in the middle of a transaction.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use openset_store::exchanges::{self, Opened, Received};

use crate::place::{Place, note, notes};

/// Tells the second process where to work.
const URL: &str = "OPENSET_STORE_TEST_URL";
/// A file that the second process makes when it stands between two lines.
const MARK: &str = "OPENSET_STORE_TEST_MARK";

fn received(rrpid: &str) -> Received<'_> {
    Received {
        sender: "merchant",
        message: "AuthReq",
        rrpid,
        digest: [1; 32],
        received_at: 1,
        keep_until: 2,
    }
}

pub(crate) async fn a_killed_process_leaves_what_it_committed_and_nothing_else(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::the_process_that_is_killed", "--exact", "--ignored"])
        .env(URL, &place.url)
        .env(MARK, &mark)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&mark).await;
    child.kill().unwrap();
    child.wait().unwrap();

    let db = place.open().await;
    assert_eq!(notes(&db).await, ["committed"]);
    let mut tx = db.begin().await.unwrap();
    let known = exchanges::open(&mut tx, &received("committed")).await;
    assert_eq!(
        known.unwrap(),
        Opened::Same {
            response: Some(b"yes".to_vec())
        }
    );
    let unknown = exchanges::open(&mut tx, &received("cut off")).await;
    assert_eq!(unknown.unwrap(), Opened::New);
}

async fn wait_for(mark: &Path) {
    for _ in 0..600 {
        if mark.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the second process did not get to its mark");
}

#[tokio::test]
#[ignore = "run by another test, which kills it"]
async fn the_process_that_is_killed() {
    let (Ok(url), Ok(mark)) = (std::env::var(URL), std::env::var(MARK)) else {
        return;
    };
    let db = openset_store::Db::open(&url, &crate::place::NOTES)
        .await
        .unwrap();
    for rrpid in ["committed", "cut off"] {
        let mut tx = db.begin().await.unwrap();
        let opened = exchanges::open(&mut tx, &received(rrpid)).await;
        assert_eq!(opened.unwrap(), Opened::New);
        note(&mut tx, rrpid).await;
        exchanges::answer(&mut tx, "merchant", "AuthReq", rrpid, b"yes")
            .await
            .unwrap();
        if rrpid == "cut off" {
            std::fs::write(&mark, b"").unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        tx.commit().await.unwrap();
    }
}
