//! The bank as a process of its own, killed at the worst moment.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::bank::{Bank, GATEWAY, authorization};

/// Killed when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    /// SIGKILL: nothing is finished, nothing is closed.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn kill_between_the_hold_and_the_answer_leaves_one_hold_that_the_gateway_finds() {
    let bank = Bank::open().await;
    let now_s = openset_service::clock::now_seconds();
    bank.vaulted.now_s.store(now_s, Ordering::Relaxed);
    let card = bank.account(10_000).await;
    let vaulted = bank.stop().await;

    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let process = Command::new(env!("CARGO_BIN_EXE_openset-issuer"))
        .arg("--config")
        .arg(vaulted.folder.path().join("issuer.toml"))
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .env("OPENSET_ISSUER_DANGER_PAUSE_AFTER_COMMIT_MS", "20000")
        .stderr(Stdio::null())
        .spawn();
    let process = Process(process.unwrap());
    let url = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    until_ready(&client, &url).await;
    let asked = client
        .post(format!("{url}/authorizations"))
        .bearer_auth(GATEWAY)
        .header("Idempotency-Key", "key")
        .json(&authorization(&card, 4200))
        .timeout(Duration::from_secs(10))
        .send()
        .await;
    assert!(asked.is_err(), "there must be no answer: {asked:?}");
    drop(process);

    let bank = vaulted.start().await;
    assert_eq!(
        bank.sums(&card).await,
        [5800, 4200, 0],
        "the hold was taken"
    );
    let answer = bank.authorize(&card, "key", 4200).await.expect(200);
    assert_eq!(answer["outcome"], "approved");
    assert_eq!(bank.sums(&card).await, [5800, 4200, 0], "one hold");
    let id = answer["authorization_id"].as_str().unwrap();
    assert_eq!(bank.show(&card).await["holds"][0]["authorization_id"], id);
    bank.release(id, "r").await.expect(200);
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
}

async fn until_ready(client: &reqwest::Client, url: &str) {
    for _ in 0..1200 {
        let answer = client.get(format!("{url}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the process did not come up");
}
