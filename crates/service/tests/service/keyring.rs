//! The generations of a party's credentials in its vault.

use openset_pki::{BrandId, Purpose, Role};
use openset_service::clock;
use openset_service::enrolment::{self, Certified, Generation, Keyring, RETIRED_KEEP_SECONDS};
use openset_store::{Db, SecretString, Vault, sqlite_url};
use openset_testkit::keys::key;
use openset_testkit::pki::TestPki;

struct Party {
    _folder: tempfile::TempDir,
    pki: TestPki,
    db: Db,
    vault: Vault,
    brand: BrandId,
}

impl Party {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = sqlite_url(&folder.path().join("x.db"));
        let db = Db::open(&url, &[]).await.unwrap();
        let passphrase = SecretString::from("only for tests");
        Self {
            pki: TestPki::new(&["Brand"], clock::now()),
            vault: Vault::unlock(&db, &passphrase).await.unwrap(),
            brand: BrandId::new("Brand").unwrap(),
            _folder: folder,
            db,
        }
    }

    async fn store(&self, generation: Generation, not_after: i64) {
        let certified = |purpose| {
            let key = key(&format!("shop/{}/{purpose}", generation.number()));
            let mut leaf = self.pki.leaf(Role::Merchant, purpose, "shop");
            leaf.validity.not_before = not_after - 1000;
            leaf.validity.not_after = not_after;
            let chain = self.pki.issue("Brand", &leaf, key.public_key());
            Certified { chain, key }
        };
        let (signature, exchange) = (
            certified(Purpose::Signature),
            certified(Purpose::KeyExchange),
        );
        let mut tx = self.db.begin().await.unwrap();
        let (vault, brand) = (&self.vault, &self.brand);
        enrolment::store(&mut tx, vault, brand, generation, &signature, &exchange)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn keyring(&self) -> Keyring {
        let brands = [self.brand.clone()];
        Keyring::load(&self.db, &self.vault, &brands).await.unwrap()
    }

    fn held(&self, keyring: &Keyring) -> Vec<u32> {
        let pairs = keyring.pairs();
        pairs.iter().map(|pair| pair.generation.number()).collect()
    }
}

#[tokio::test]
async fn newest_generation_is_the_current_one_and_the_others_are_kept_to_open_with() {
    let party = Party::new().await;
    let now = clock::now_seconds();
    let keyring = party.keyring().await;
    assert!(keyring.ready().is_err());
    let mut generation = Generation::FIRST;
    for _ in 0..11 {
        party.store(generation, now + 1000).await;
        generation = generation.next();
    }
    // What was stored meanwhile is found without a restart, too.
    keyring.look_again().await.unwrap();
    for keyring in [keyring, party.keyring().await] {
        keyring.ready().unwrap();
        assert_eq!(party.held(&keyring), (1..=11).collect::<Vec<_>>());
        let current = keyring.of_brand(&party.brand).unwrap();
        let newest = key("shop/11/signature");
        assert_eq!(
            current.signature.certificate().public_key(),
            newest.public_key()
        );
        assert_eq!(
            keyring.all()[0].signature.thumbprint(),
            current.signature.thumbprint()
        );
        for pair in keyring.all().iter() {
            let named = keyring.named(&pair.signature.thumbprint()).unwrap();
            assert_eq!(
                named.key_exchange.thumbprint(),
                pair.key_exchange.thumbprint()
            );
        }
    }
}

#[tokio::test]
async fn keys_go_a_month_after_their_certificates_ended_and_the_newest_never() {
    let party = Party::new().await;
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    let now = clock::now_seconds();
    // Long enough for two pairs of keys to be made, on a slow machine too.
    const LEFT_S: i64 = 20;
    party
        .store(first, now - RETIRED_KEEP_SECONDS + LEFT_S)
        .await;
    party.store(second, now - RETIRED_KEEP_SECONDS - 1000).await;
    let keyring = party.keyring().await;
    keyring.drop_retired().await.unwrap();
    assert_eq!(party.held(&keyring), [1, 2]);
    while clock::now_seconds() <= now + LEFT_S + 1 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    keyring.drop_retired().await.unwrap();
    assert_eq!(party.held(&keyring), [2]);
    assert_eq!(party.held(&party.keyring().await), [2]);
    party.store(first, now + 1000).await;
    assert_eq!(
        party.held(&party.keyring().await),
        [1, 2],
        "its place in the vault was free again: the keys are gone"
    );
}
