//! A server on port 0, and raw HTTP to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use openset_service::CancellationToken;
use openset_service::config::{self, Common, Config, Party};
use openset_service::server::{self, Timeouts, TlsSetup};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[derive(Debug, Default, clap::Args, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) issuer_url: Option<String>,
    #[arg(long)]
    pub(crate) tolerance_percent: Option<u32>,
    #[arg(long)]
    pub(crate) issuer_token: Option<config::Secret>,
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub(crate) tokens: openset_service::auth::Tokens,
}

pub(crate) fn load(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Config<Options>> {
    let args = ["openset-gateway"].iter().chain(args).map(OsString::from);
    let env: BTreeMap<_, _> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect();
    config::load_from(Party::Gateway, args, &env)
}

pub(crate) fn common(data_dir: &Path, args: &[&str]) -> Common {
    let data_dir = data_dir.to_str().unwrap();
    let args = [&["--data-dir", data_dir], args].concat();
    load(&args, &[]).unwrap().common
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<()>,
}

impl Served {
    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until nothing listens any more.
    pub(crate) async fn stopped(&self) {
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends these bytes and reads until the server closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(10), read)
        .await
        .expect("the server closes in time");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn serve(router: Router) -> Served {
    serve_with(router, None, Timeouts::default()).await
}

pub(crate) async fn serve_with(
    router: Router,
    tls: Option<TlsSetup>,
    timeouts: Timeouts,
) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let ended = tokio::spawn(server::serve_with(listener, tls, router, stop, timeouts));
    Served {
        address,
        shutdown,
        ended,
    }
}

pub(crate) async fn json_of(response: reqwest::Response) -> serde_json::Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}
