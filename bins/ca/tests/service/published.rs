//! Back-ups held against what was published since: the lists of the CAs, and those of a root that is kept offline.

use std::fs;
use std::path::Path;

use crate::backups::{crl, enrolled, lose_database};
use crate::ca::{Place, Running, issued};
use crate::commands::{config, fails, list, ok, sha256_in, until_served};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn revoked(ca: &Running, place: &Place, name: &str, at: &str) -> String {
    let serial = enrolled(ca, place, true, name).await.unwrap();
    let reason = ["--reason", "key-compromise", "--config", at];
    ok(&[&["revoke", &serial], &reason[..]].concat());
    serial
}

/// A CA with a back-up, and after it a revocation of what was there and one of what was not.
struct Scene {
    place: Place,
    /// The published lists.
    out: std::path::PathBuf,
    file: String,
    at: String,
    known: String,
    later: String,
    number: u64,
    /// The journal as it was when the back-up was made.
    old_journal: Vec<u8>,
}

async fn scene() -> Scene {
    let place = Place::new().await;
    let at = text(&config(&place)).to_owned();
    let beside = |name: &str| text(&place.data().with_file_name(name)).to_owned();
    let (file, out) = (beside("ca.age"), place.data().with_file_name("published"));
    let ca = place.start().await;
    let known = enrolled(&ca, &place, true, "shop").await.unwrap();
    ok(&["backup", "--out", &file, "--config", &at]);
    let old_journal = fs::read(place.data().join("journal.log")).unwrap();
    let reason = ["--reason", "key-compromise", "--config", &at];
    ok(&[&["revoke", known.as_str()], &reason[..]].concat());
    let later = revoked(&ca, &place, "later", &at).await;
    ok(&["publish", "--out", text(&out), "--config", &at]);
    let number = crl(&ca, "visa-mca").await.number();
    ca.stop().await;
    lose_database(&place);
    Scene {
        place,
        out,
        file,
        at,
        known,
        later,
        number,
        old_journal,
    }
}

impl Scene {
    fn restore(&self, more: &[&str]) -> Vec<String> {
        let all = [&["restore", &self.file, "--config", &self.at], more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    fn list(&self, ca: &str) -> String {
        text(&self.out.join(format!("{ca}.crl"))).to_owned()
    }

    /// Both revocations stand, and nothing is certified before new CAs are made.
    async fn is_held_against_the_lists(&self) {
        let ca = self.place.start().await;
        let after = crl(&ca, "visa-mca").await;
        for serial in [&self.known, &self.later] {
            assert!(after.revokes(&hex::decode(serial).unwrap()), "{serial}");
        }
        assert!(after.number() > self.number);
        let begun = crate::wallet::begin(&ca.url, crate::wallet::merchant()).await;
        assert!(begun.is_err(), "a retired CA certifies nothing");
        let before = issued(&ca.url).await;
        let renew = ["authority", "renew", "visa-bca", "--below", "--config"];
        ok(&[&renew[..], &[self.at.as_str()]].concat());
        until_served(&ca, "visa-mca-2").await;
        enrolled(&ca, &self.place, true, "fresh").await.unwrap();
        assert_eq!(issued(&ca.url).await, before + 2);
        ca.stop().await;
    }
}

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_cut_short_is_made_good_by_a_published_list() {
    let scene = scene().await;
    // Last week's copy: it goes as far as the back-up, and knows of no revocation since.
    fs::write(scene.place.data().join("journal.log"), &scene.old_journal).unwrap();
    let restored = ok(&words(&scene.restore(&["--crl", &scene.list("visa-mca")])));
    assert!(restored.contains("revoke 2 certificates"), "{restored}");
    assert!(restored.contains("--below"), "{restored}");
    scene.is_held_against_the_lists().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_journal_and_the_lists_agree() {
    let scene = scene().await;
    let restored = ok(&words(&scene.restore(&["--crl", &scene.list("visa-mca")])));
    assert!(restored.contains("revoke 0 certificates"), "{restored}");
    assert!(!restored.contains("retired"), "{restored}");
    let ca = scene.place.start().await;
    enrolled(&ca, &scene.place, true, "fresh").await.unwrap();
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_the_lists_of_all_cas_are_needed() {
    let scene = scene().await;
    fs::remove_file(scene.place.data().join("journal.log")).unwrap();
    let none = fails(&words(&scene.restore(&[])));
    assert!(none.contains("--crl"), "{none}");
    let some = fails(&words(&scene.restore(&["--crl", &scene.list("visa-mca")])));
    for missing in ["root", "visa-bca", "visa-gca", "visa-cca", "visa-pca"] {
        assert!(some.contains(missing), "{some}");
    }
    // One of another CA of the same name is none of ours.
    let elsewhere = Place::new().await;
    let other = text(&config(&elsewhere)).to_owned();
    elsewhere.start().await.stop().await;
    let out = elsewhere.data().with_file_name("published");
    ok(&["publish", "--out", text(&out), "--config", &other]);
    let foreign = out.join("visa-mca.crl");
    let foreign = fails(&words(&scene.restore(&["--crl", text(&foreign)])));
    assert!(foreign.contains("was altered"), "{foreign}");
    // In PEM as well.
    let der = fs::read(scene.out.join("visa-mca.crl")).unwrap();
    let pem = scene.out.join("mca.pem");
    fs::write(&pem, pem::encode(&pem::Pem::new("X509 CRL", der))).unwrap();
    let mut all = vec!["--crl".to_owned(), text(&pem).to_owned()];
    for ca in ["root", "visa-bca", "visa-gca", "visa-cca", "visa-pca"] {
        all.extend(["--crl".to_owned(), scene.list(ca)]);
    }
    ok(&words(&scene.restore(&words(&all))));
    scene.is_held_against_the_lists().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_ca_serves_the_newest_list_of_its_offline_root() {
    let place = Place::new().await.with_offline_root();
    let config = config(&place);
    let here = ["--config", text(&config)];
    let folder = place.data().with_file_name("offline");
    let at = |name: &str| text(&folder.join(name)).to_owned();
    let root = |args: &[&str]| {
        let common = ["--folder", text(&folder), "--passphrase", "of the root"];
        ok(&[&["root"], args, &common].concat())
    };
    let import = |files: &[&str]| ok(&[&["import"], files, &here[..]].concat());
    root(&["create"]);
    import(&[&at("root.pem"), &at("root.crl")]);
    let (request, certificate) = (at("visa.csr"), at("visa.pem"));
    let told = ok(&[&["brand", "add", "Visa", "--request", &request], &here[..]].concat());
    let sha256 = sha256_in(&told);
    root(&["sign", &request, "--sha256", sha256, "--out", &certificate]);
    import(&[&certificate]);
    let file = text(&place.data().with_file_name("ca.age")).to_owned();
    ok(&[&["backup", "--out", &file], &here[..]].concat());
    let own = list(&config, &["--own", "--role", "brand_ca"]);
    let serial = own[0]["serial"].as_str().unwrap().to_owned();
    root(&["crl", "--revoke", &serial, "--reason", "ca-compromise"]);
    import(&[&at("root.crl")]);
    lose_database(&place);
    ok(&[&["restore", &file], &here[..]].concat());
    let out = place.data().with_file_name("published");
    ok(&[&["publish", "--out", text(&out)], &here[..]].concat());
    let served = fs::read(out.join("root.crl")).unwrap();
    assert_eq!(served, fs::read(folder.join("root.crl")).unwrap());
}
