//! POST /backup and POST /restore.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{Decryptor, Encryptor, scrypt};
use openset_store::SecretString;
use serde_json::{Value, json};

use crate::authority;
use crate::shop;
use crate::world::{Answer, CODE, OWNER, PAN, Wallet, World};

const PASSPHRASE: &str = "correct horse battery staple";

pub(crate) async fn back_up(wallet: &Wallet) -> String {
    let answer = wallet
        .post("/backup", None, &json!({"passphrase": PASSPHRASE}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer
            .text
            .starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n")
    );
    answer.text
}

pub(crate) async fn restore(wallet: &Wallet, file: &str) -> Answer {
    restore_with(wallet, file, PASSPHRASE).await
}

async fn restore_with(wallet: &Wallet, file: &str, passphrase: &str) -> Answer {
    let body = json!({"backup": file, "passphrase": passphrase});
    wallet.post("/restore", None, &body).await
}

fn secret() -> SecretString {
    SecretString::from(PASSPHRASE)
}

/// What is in a back-up.
fn opened(file: &str) -> Value {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(file.as_bytes())).unwrap();
    let identity = scrypt::Identity::new(secret());
    let identity: &dyn age::Identity = &identity;
    let mut plain = String::new();
    let mut reader = decryptor.decrypt(std::iter::once(identity)).unwrap();
    reader.read_to_string(&mut plain).unwrap();
    serde_json::from_str(&plain).unwrap()
}

/// A file with this inside.
fn sealed(plain: &[u8], log_n: u8) -> String {
    let mut recipient = scrypt::Recipient::new(secret());
    recipient.set_work_factor(log_n);
    let recipient: &dyn age::Recipient = &recipient;
    let encryptor = Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).unwrap();
    let mut writer = encryptor.wrap_output(armor).unwrap();
    writer.write_all(plain).unwrap();
    String::from_utf8(writer.finish().unwrap().finish().unwrap()).unwrap()
}

async fn purchase(wallet: &Wallet, world: &World, card_id: &str, key: &str) -> String {
    let answer = wallet.buy(world, card_id, Some(key)).await;
    assert_eq!(
        (answer.status, answer.at("/status").as_str()),
        (201, "paid"),
        "{}",
        answer.text
    );
    answer.at("/purchase_id")
}

#[tokio::test]
async fn a_restored_wallet_pays_inquires_and_repeats_as_the_first_one() {
    let world = World::new().await;
    let first = world.open("first").await;
    let card_id = first.register().await;
    let paid = purchase(&first, &world, &card_id, "one").await;
    world.shop.be(shop::Mood::Waits);
    let pending = first.buy(&world, &card_id, Some("two")).await;
    assert_eq!(pending.at("/status"), "pending", "{}", pending.text);
    let file = back_up(&first).await;
    first.close().await;
    assert!(!file.contains(PAN) && !file.contains("Grace"));

    let second = world.open("second").await;
    let answer = restore(&second, &file).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        answer.json()["cards"],
        json!({"added": 1, "updated": 0, "kept": 0})
    );
    assert_eq!(
        answer.json()["purchases"],
        json!({"added": 2, "updated": 0, "kept": 0})
    );
    // The card is the same one.
    let card = second.card(&card_id).await;
    assert_eq!(card["state"], "registered");
    assert_eq!(card["holder"], "Grace Hopper");
    // A repeated request is the same purchase, and nothing is asked of the shop.
    let (asked, _) = world.shop.received("PReq");
    let again = second.buy(&world, &card_id, Some("one")).await;
    assert_eq!(again.at("/purchase_id"), paid);
    assert_eq!(again.at("/status"), "paid");
    assert_eq!(world.shop.received("PReq").0, asked);
    // What was pending can be inquired about.
    let path = format!("/purchases/{}/inquiry", pending.at("/purchase_id"));
    let inquired = second.post(&path, None, &json!({})).await;
    assert_eq!(inquired.at("/status"), "paid", "{}", inquired.text);
    // And the key pays.
    world.shop.be(shop::Mood::Sells);
    purchase(&second, &world, &card_id, "three").await;
    let stored = world.database_bytes("second");
    assert!(!stored.windows(PAN.len()).any(|part| part == PAN.as_bytes()));
    second.close().await;
}

#[tokio::test]
async fn a_restored_wallet_goes_on_with_what_was_not_answered() {
    let world = World::new().await;
    let first = world.open("first").await;
    let card_id = first.register().await;
    world
        .authority
        .be(authority::Mood::LosesAnswersTo("CertReq"));
    let registering = first.post("/cards", None, &crate::world::card()).await;
    assert_eq!(registering.status, 202, "{}", registering.text);
    world.shop.be(shop::Mood::LosesAnswersTo("PReq"));
    let sent = first.buy(&world, &card_id, Some("one")).await;
    assert_eq!((sent.status, sent.at("/status").as_str()), (202, "pending"));
    let file = back_up(&first).await;
    first.close().await;

    world.authority.be(authority::Mood::Certifies);
    world.shop.be(shop::Mood::Sells);
    let second = world.open("second").await;
    assert_eq!(restore(&second, &file).await.status, 200);
    second
        .card_in(&registering.at("/card_id"), "registered")
        .await;
    second.purchase_is(&sent.at("/purchase_id"), "paid").await;
    assert_eq!(
        world.authority.received("CertReq").0,
        2,
        "the same bytes each time"
    );
    assert_eq!(world.shop.received("PReq").0, 1, "the same bytes each time");
    second.close().await;
}

#[tokio::test]
async fn restore_never_goes_back_to_an_older_state() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(shop::Mood::Waits);
    let pending = wallet.buy(&world, &card_id, Some("one")).await;
    world
        .authority
        .be(authority::Mood::LosesAnswersTo("CertReq"));
    let registering = wallet.post("/cards", None, &crate::world::card()).await;
    let old = back_up(&wallet).await;
    world.authority.be(authority::Mood::Certifies);
    let registering = registering.at("/card_id");
    let registered = wallet.card_in(&registering, "registered").await;
    let path = format!("/purchases/{}/inquiry", pending.at("/purchase_id"));
    assert_eq!(
        wallet.post(&path, None, &json!({})).await.at("/status"),
        "paid"
    );
    let new = back_up(&wallet).await;

    let answer = restore(&wallet, &old).await;
    assert_eq!(
        answer.json()["cards"],
        json!({"added": 0, "updated": 0, "kept": 2}),
        "{}",
        answer.text
    );
    assert_eq!(
        answer.json()["purchases"],
        json!({"added": 0, "updated": 0, "kept": 1})
    );
    assert_eq!(wallet.card(&registering).await, registered);
    wallet
        .purchase_is(&pending.at("/purchase_id"), "paid")
        .await;
    wallet.close().await;

    // A wallet with the old state takes the newer one.
    let other = world.open("other").await;
    world.authority.be(authority::Mood::Down);
    assert_eq!(restore(&other, &old).await.json()["cards"]["added"], 2);
    let answer = restore(&other, &new).await;
    assert_eq!(
        answer.json()["cards"],
        json!({"added": 0, "updated": 1, "kept": 1}),
        "{}",
        answer.text
    );
    assert_eq!(
        answer.json()["purchases"],
        json!({"added": 0, "updated": 1, "kept": 0})
    );
    other.card_in(&registering, "registered").await;
    other.purchase_is(&pending.at("/purchase_id"), "paid").await;
    other.close().await;
}

#[tokio::test]
async fn keys_of_requests_stay_with_the_cards_and_purchases_that_have_them() {
    let world = World::new().await;
    let first = world.open("first").await;
    let theirs = first
        .post("/cards", Some("card"), &crate::world::card())
        .await
        .at("/card_id");
    let file = back_up(&first).await;
    first.close().await;
    let second = world.open("second").await;
    let ours = second
        .post("/cards", Some("card"), &crate::world::card())
        .await
        .at("/card_id");
    assert_ne!(ours, theirs);
    assert_eq!(restore(&second, &file).await.status, 200);
    second.card_in(&theirs, "registered").await;
    let again = second
        .post("/cards", Some("card"), &crate::world::card())
        .await;
    assert_eq!(again.at("/card_id"), ours);
    second.close().await;
}

/// Everything that the wallet's owner can see.
async fn seen(wallet: &Wallet, purchase: &str) -> (Value, Value) {
    let purchase = wallet.get(&format!("/purchases/{purchase}")).await;
    (wallet.get("/cards").await.json(), purchase.json())
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_is_named_and_changes_nothing() {
    let world = World::new().await;
    let first = world.open("first").await;
    let card_id = first.register().await;
    let bought = purchase(&first, &world, &card_id, "one").await;
    let file = back_up(&first).await;
    let before = seen(&first, &bought).await;

    let wrong = restore_with(&first, &file, "another passphrase").await;
    assert_eq!(
        wrong.refuses(422, "wrong-passphrase").pointers(),
        ["/passphrase"]
    );
    let longer = format!("{}{}", file.trim_end(), "AAAA");
    let plain = serde_json::to_vec(&opened(&file)).unwrap();
    let mut cut: Vec<&str> = file.lines().collect();
    cut.remove(cut.len() / 2);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut whole = opened(&file);
        change(&mut whole);
        sealed(&serde_json::to_vec(&whole).unwrap(), 2)
    };
    let damaged = [
        String::new(),
        "no age file".to_owned(),
        longer,
        cut.join("\n"),
        file.lines().take(4).collect::<Vec<_>>().join("\n"),
        sealed(b"not JSON", 2),
        sealed(&plain[..plain.len() - 10], 2),
        with(&|whole| whole["format"] = json!("another program's")),
        with(&|whole| whole["contents"]["cards"][0]["state"] = json!("refused")),
        with(&|whole| whole["contents"]["cards"][0]["kept"]["registered"]["key"] = json!("AAAA")),
        with(&|whole| whole["contents"]["cards"] = json!([])),
        with(&|whole| whole["contents"]["more"] = json!(1)),
    ];
    let empty = world.open("empty").await;
    for (place, file) in damaged.iter().enumerate() {
        let answer = restore(&empty, file).await;
        assert_eq!(
            (answer.status, answer.at("/code")),
            (422, "backup-damaged".to_owned()),
            "{place}: {}",
            answer.text
        );
    }
    let future = with(&|whole| {
        whole["version"] = json!(2);
        whole["contents"] = json!({"all": "different"});
    });
    restore(&first, &future)
        .await
        .refuses(422, "backup-version");
    // The header asks for work that nobody wants to do; changing it needs no passphrase.
    let hostile = hostile(&file);
    let started = std::time::Instant::now();
    restore(&first, &hostile)
        .await
        .refuses(422, "backup-excessive-work");
    assert!(started.elapsed() < Duration::from_secs(60));
    let huge = "A".repeat(65 * 1024 * 1024);
    restore(&first, &huge).await.refuses(413, "body-too-large");
    restore(&first, &"A".repeat(69 * 1024 * 1024))
        .await
        .refuses(413, "body-too-large");
    let body = json!({"backup": file, "passphrase": ""});
    first
        .post("/restore", None, &body)
        .await
        .refuses(422, "invalid-field");
    first
        .post("/restore", None, &json!({"backup": file}))
        .await
        .refuses(422, "invalid-field");
    first
        .post("/backup", None, &json!({"passphrase": "too short"}))
        .await
        .refuses(422, "invalid-field");
    first
        .post("/backup", None, &json!({"passphrase": "x".repeat(1025)}))
        .await
        .refuses(422, "invalid-field");

    assert_eq!(seen(&first, &bought).await, before);
    assert_eq!(empty.get("/cards").await.json(), json!({"cards": []}));
    for wallet in [first, empty] {
        wallet.close().await;
    }
}

/// The file with a header that asks for 2^40 blocks of scrypt.
fn hostile(file: &str) -> String {
    let mut binary = Vec::new();
    ArmoredReader::new(file.as_bytes())
        .read_to_end(&mut binary)
        .unwrap();
    // "-> scrypt SALT 4": a salt may begin with a 4, too.
    let stanza = binary.windows(10).position(|part| part == b"-> scrypt ");
    let stanza = stanza.unwrap();
    let length = binary[stanza..].iter().position(|byte| *byte == b'\n');
    let end = stanza + length.unwrap();
    assert_eq!(binary[end - 2..end], *b" 4");
    binary.insert(end, b'0');
    let mut armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).unwrap();
    armor.write_all(&binary).unwrap();
    String::from_utf8(armor.finish().unwrap()).unwrap()
}

#[tokio::test]
pub(crate) async fn back_ups_are_for_the_owner_alone() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    for path in ["/backup", "/restore"] {
        let request = wallet.request("POST", path).body("{}");
        wallet
            .send(request)
            .await
            .unwrap()
            .refuses(401, "unauthorized");
        let request = wallet
            .request("POST", path)
            .bearer_auth("operator-token-of-the-tests");
        wallet
            .send(request.body("{}"))
            .await
            .unwrap()
            .refuses(403, "forbidden");
    }
    wallet.close().await;
}

/// A back-up with this many purchases, made out of one with a single one.
fn multiplied(file: &str, purchases: usize) -> String {
    let mut whole = opened(file);
    let one = whole["contents"]["purchases"][0].clone();
    let many = (0..purchases).map(|number| {
        let mut purchase = one.clone();
        purchase["purchase_id"] = json!(format!("purchase-{number}"));
        purchase["idempotency_key"] = Value::Null;
        purchase
    });
    whole["contents"]["purchases"] = many.collect();
    sealed(&serde_json::to_vec(&whole).unwrap(), 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_midst_of_a_restore_it_has_all_or_nothing() {
    const PURCHASES: usize = 300;
    let world = World::new().await;
    let first = world.open("first").await;
    let card_id = first.register().await;
    purchase(&first, &world, &card_id, "one").await;
    let file = multiplied(&back_up(&first).await, PURCHASES);
    first.close().await;
    let mut with_nothing = 0;
    // The transaction is larger than SQLite's cache: it spills into the log long before it is committed.
    for written in [100_000, 600_000, 1_500_000, 3_000_000, u64::MAX] {
        let name = format!("killed-at-{written}");
        let wallet = world.spawn(&name).await;
        let body = json!({"backup": file, "passphrase": PASSPHRASE}).to_string();
        let request = wallet.request("POST", "/restore").bearer_auth(OWNER);
        let sending = tokio::spawn(request.body(body).send());
        let log = world.folder(&name).join("cardholder.db-wal");
        let size = || std::fs::metadata(&log).map_or(0, |log| log.len());
        let before = size();
        while !sending.is_finished() && size().saturating_sub(before) < written {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let finished = sending.is_finished();
        wallet.kill();
        // A busy machine may give up the request before it is answered.
        let taken = sending.await.unwrap();
        let answered = finished && taken.is_ok_and(|answer| answer.status() == 200);
        let wallet = world.open(&name).await;
        let cards = wallet.get("/cards").await.json();
        let last = format!("/purchases/purchase-{}", PURCHASES - 1);
        let (first, last) = (
            wallet.get("/purchases/purchase-0").await.status,
            wallet.get(&last).await.status,
        );
        match (cards["cards"].as_array().unwrap().len(), first, last) {
            (0, 404, 404) => {
                assert!(!answered, "an answered restore is kept");
                with_nothing += 1;
            }
            (1, 200, 200) => {}
            other => panic!("a part of the back-up: {other:?}"),
        }
        wallet.close().await;
    }
    assert!(with_nothing > 0, "none was killed before its end");
}

#[tokio::test]
async fn nothing_of_a_back_up_stands_in_the_log() {
    let world = World::new().await;
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    purchase(&wallet, &world, &card_id, "one").await;
    let file = back_up(&wallet).await;
    restore_with(&wallet, &file, "another passphrase")
        .await
        .refuses(422, "wrong-passphrase");
    assert_eq!(restore(&wallet, &file).await.status, 200);
    wallet.kill();
    let log = world.log("wallet");
    assert!(
        log.contains("back-up made") && log.contains("back-up restored"),
        "{log}"
    );
    let first_line = file.lines().nth(1).unwrap();
    for secret in [
        PASSPHRASE,
        "another passphrase",
        PAN,
        CODE,
        "Espresso",
        "Grace",
        first_line,
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// Debian's `age`, which wants a terminal for the passphrase: `script` gives it one.
#[tokio::test]
async fn debians_age_opens_a_back_up() {
    let found = |program: &str| {
        std::process::Command::new(program)
            .arg("--version")
            .output()
            .is_ok()
    };
    if !found("age") || !found("script") {
        println!(
            "skipped: `age` and `script` are not both installed (apt-get install age bsdutils)"
        );
        return;
    }
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let file = back_up(&wallet).await;
    wallet.close().await;
    let (input, output) = (
        world.data().join("wallet.age"),
        world.data().join("wallet.json"),
    );
    std::fs::write(&input, &file).unwrap();
    let command = format!(
        "age --decrypt --output {} {}",
        output.display(),
        input.display()
    );
    let mut child = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Typed once age asks for it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    writeln!(stdin, "{PASSPHRASE}").unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    let plain = std::fs::read_to_string(output).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&plain).unwrap(),
        opened(&file)
    );
    assert!(plain.contains(&card_id) && plain.contains(PAN));
}
