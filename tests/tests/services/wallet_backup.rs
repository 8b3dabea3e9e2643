//! `openset wallet backup` and `restore`, from one wallet to a new one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::{Command, Output};

use openset_tests::{World, fresh, openset};
use serde_json::json;

fn run(args: &[&str], token: &str, passphrase: &str) -> Output {
    Command::new(openset())
        .args(args)
        .env("OPENSET_WALLET_TOKEN", token)
        .env("OPENSET_BACKUP_PASSPHRASE", passphrase)
        .output()
        .unwrap()
}

#[track_caller]
fn fails_with(output: &Output, words: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains(words), "{told}");
}

#[tokio::test]
async fn command_line_moves_a_wallet_to_a_new_one() {
    const PASSPHRASE: &str = "correct horse battery staple";
    let quick = |party: &str, table: &mut toml::Table| {
        if party == "cardholder" {
            table.insert("danger_backup_log_n".to_owned(), 2.into());
        }
    };
    let mut world = World::start_with(quick).await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let bought = world.purchase(&card_id, &fresh()).await.unwrap();
    let file = world.folder_of("cardholder").join("wallet.age");
    let (out, url) = (
        file.display().to_string(),
        world.url("cardholder").to_owned(),
    );
    let token = world.file.tokens.cardholder.clone();
    let backup = ["wallet", "backup", "--url", &url, "--out", &out];
    let restore = ["wallet", "restore", "--url", &url, "--file", &out];
    fails_with(&run(&backup, "not the owner's", PASSPHRASE), "unauthorized");
    fails_with(&run(&backup, &token, "short"), "invalid-field");
    assert!(!file.exists(), "nothing is written without a back-up");
    let made = run(&backup, &token, PASSPHRASE);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    fails_with(&run(&backup, &token, PASSPHRASE), "there already");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // The wallet is lost: another passphrase, another database.
    world.kill("cardholder");
    let folder = world.folder_of("cardholder");
    for lost in ["cardholder.db", "cardholder.db-wal", "cardholder.db-shm"] {
        std::fs::remove_file(folder.join(lost)).ok();
    }
    world.restart("cardholder").await;
    fails_with(
        &run(&restore, &token, "another passphrase"),
        "wrong-passphrase",
    );
    let done = run(&restore, &token, PASSPHRASE);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        told.contains("cards: 1 added") && told.contains("purchases: 1 added"),
        "{told}"
    );
    let path = format!("purchases/{}", bought.text("/purchase_id"));
    let view = world.get("cardholder", &path).await.unwrap();
    assert_eq!(view.text("/receipt_jws"), bought.text("/receipt_jws"));
    let again = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_eq!(again.text("/status"), "paid", "{:?}", again.json);
}
