//! What the gateway needs before it is ready: the token key, trust, certificates.

use std::sync::Arc;

use anyhow::Context as _;
use openset_jose::ContentKey;
use openset_pki::{Expect, Purpose, Role};
use openset_protocol::gateway::auth::TokenKey;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_service::client::HttpClient;
use openset_service::config::Common;
use openset_service::enrolment::{Application, Enroller};
use openset_service::health::Health;
use openset_service::trust::{Trust, TrustError};
use openset_service::{CancellationToken, clock, random};
use openset_store::{Db, Vault, keys};
use zeroize::Zeroizing;

use crate::Gateway;

/// The name of the token key in the vault.
const TOKEN_KEY: &str = "token_key";

/// The key of capture tokens, made at the first start; of replicas that start together, one makes it for all.
pub(crate) async fn token_key(db: &Db, vault: &Vault) -> anyhow::Result<TokenKey> {
    let held = keys::load(&mut *db.read().await?, vault, TOKEN_KEY).await?;
    let bytes = match held {
        Some(bytes) => bytes,
        None => {
            let fresh = Zeroizing::new(random::bytes::<32>());
            let mut tx = db.begin().await?;
            let _ = keys::put(&mut tx, vault, TOKEN_KEY, &*fresh).await?;
            tx.commit().await?;
            let held = keys::load(&mut *db.read().await?, vault, TOKEN_KEY).await?;
            held.context("the token key was stored and is gone")?
        }
    };
    let bytes: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .context("the token key is damaged")?;
    Ok(TokenKey::new(ContentKey::from_bytes(bytes)))
}

/// What goes on while the service serves: trust is fetched and kept fresh, certificates are applied for.
pub(crate) struct Background {
    pub(crate) common: Common,
    pub(crate) client: HttpClient,
    pub(crate) gateway: Arc<Gateway>,
}

impl Background {
    /// Works until `shutdown`. Without trust there is nothing to serve, so its failure ends the service.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            common,
            client,
            gateway,
        } = self;
        let trust = match Trust::bootstrap(&common, &client, &gateway.db, &shutdown).await {
            Ok(trust) => trust,
            Err(TrustError::Stopped) => return Ok(()),
            Err(error) => {
                shutdown.cancel();
                return Err(error.into());
            }
        };
        gateway.hold(Arc::clone(&trust));
        let applications = applications(&gateway);
        let fresh = tokio::spawn(Arc::clone(&trust).keep_fresh(shutdown.clone()));
        let enroller = Enroller {
            db: gateway.db.clone(),
            vault: gateway.vault.clone(),
            keyring: gateway.keyring.clone(),
            client,
            trust,
        };
        Box::pin(enroller.run(applications, shutdown)).await;
        fresh.await?;
        Ok(())
    }
}

fn applications(gateway: &Gateway) -> Vec<Application> {
    let settings = &gateway.settings;
    if settings.activation_code.is_none() {
        tracing::warn!(
            "no activation_code is configured: brands without certificates stay without"
        );
    }
    let application = |brand: &openset_protocol::BrandId| Application {
        brand: brand.clone(),
        id_data: IdData::Gateway {
            acquirer_bin: settings.acquirer_bin.clone(),
            gateway_id: settings.gateway_id.clone(),
        },
        activation_code: settings.activation_code.clone(),
        policy_accepted: settings.policy_accepted,
    };
    settings.brands.iter().map(application).collect()
}

/// The checks of `/readyz`.
pub(crate) fn add_checks(health: &mut Health, gateway: &Arc<Gateway>) {
    let checked = Arc::clone(gateway);
    health.add("database", move || {
        let db = checked.db.clone();
        async move {
            let mut connection = db.read().await.map_err(|error| error.to_string())?;
            let asked = sqlx::query("SELECT 1").execute(&mut *connection).await;
            asked
                .map(drop)
                .map_err(|_| "the database does not answer".to_owned())
        }
    });
    let checked = Arc::clone(gateway);
    health.add("trust", move || {
        let outcome = check_trust(&checked);
        async { outcome }
    });
    let checked = Arc::clone(gateway);
    health.add("certificates", move || {
        let outcome = checked.keyring.ready();
        async { outcome }
    });
}

/// Our own certificates are good by the CRLs held now, or else everybody's are refused.
fn check_trust(gateway: &Gateway) -> Result<(), String> {
    let verifier = gateway
        .verifier()
        .map_err(|_| "the CA's trust document is not there yet")?;
    let now = clock::now_seconds();
    let pairs = gateway.keyring.pairs();
    let current = pairs.iter().filter(|pair| pair.current);
    for held in current.map(|pair| &pair.credentials) {
        let brand = held.signature.brand();
        let expect = |purpose| Expect {
            role: Role::Gateway,
            purpose,
            brand,
        };
        verifier
            .verify(held.signature.chain(), &expect(Purpose::Signature), now)
            .and_then(|_| {
                verifier.verify(
                    held.key_exchange.chain(),
                    &expect(Purpose::KeyExchange),
                    now,
                )
            })
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
