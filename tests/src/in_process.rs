//! The five services inside the test program, so that a test can move their clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;

use clap::Args;
use openset_service::CancellationToken;
use openset_service::config::{Config, Party, load_from};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

/// A service on a thread and runtime of its own.
pub(crate) struct Task {
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Task {
    /// Starts a party with its configuration file.
    pub(crate) fn start(party: &'static str, config: &Path) -> Self {
        match party {
            "ca" => Self::of(Party::Ca, config, openset_ca::run),
            "issuer" => Self::of(Party::Issuer, config, openset_issuer::run),
            "gateway" => Self::of(Party::Gateway, config, openset_gateway::run),
            "merchant" => Self::of(Party::Merchant, config, openset_merchant::run),
            _ => Self::of(Party::Cardholder, config, openset_cardholder::run),
        }
    }

    fn of<O, F, R>(party: Party, config: &Path, run: F) -> Self
    where
        O: Args + Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(TcpListener, Config<O>, CancellationToken) -> R + Send + 'static,
        R: Future<Output = anyhow::Result<()>>,
    {
        let arguments = ["openset".into(), "--config".into(), config.into()];
        let config = load_from::<O>(party, arguments, &BTreeMap::new()).unwrap();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(config.common.listen).await.unwrap();
                run(listener, config, until).await.unwrap();
            });
        });
        Self {
            shutdown,
            thread: Some(thread),
        }
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a service ended badly"
            );
        }
    }
}
