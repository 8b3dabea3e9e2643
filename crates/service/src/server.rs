//! The listener: HTTP/1.1 with a limit on everything, TLS where asked for, an end with a deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::peer::Peer;
use crate::telemetry::Counted;

/// Connections served at once; more wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 512;
/// POSTs at work at once, those whose client has hung up included; more get 503.
pub const MAX_WRITES_IN_FLIGHT: usize = 256;
/// Bodies that arrive at once; more wait. Small ones are there with their header and hold nothing up.
pub const MAX_BODIES_IN_ARRIVAL: usize = 256;
/// Of these, bodies from one address: a few slow clients shall not shut out the rest.
pub const MAX_BODIES_IN_ARRIVAL_PER_PEER: usize = 32;
/// A client that has not sent a whole header by then is cut; idle keep-alive connections too.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);
/// A TLS client that has not finished its handshake by then is cut.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A body that has not arrived whole by then is refused.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A client waits no longer for an answer; a POST goes on and its answer can be asked for again.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After SIGTERM, requests at work have this long to end.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes in the body of a REST request.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Most bytes in a SET message.
pub const SET_BODY_LIMIT_BYTES: usize = 256 * 1024;
/// Most bytes in the header of a request.
pub const HEADER_LIMIT_BYTES: usize = 16 * 1024;
/// How long to wait when the system cannot give one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The waiting times of a server; tests make them short.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// See [`HEADER_READ_TIMEOUT`].
    pub header_read: Duration,
    /// See [`DRAIN_DEADLINE`].
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_read: HEADER_READ_TIMEOUT,
            drain: DRAIN_DEADLINE,
        }
    }
}

/// Certificate chain and key of the listener.
#[derive(Debug, Clone)]
pub struct TlsSetup(Arc<rustls::ServerConfig>);

impl TlsSetup {
    /// Reads a chain (leaf first) and its key.
    ///
    /// # Errors
    /// When a file cannot be read or the two do not belong together.
    pub fn from_pem_files(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read tls_certificate {}", certificate.display()))?;
        let key_der = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("cannot read tls_key {}", key.display()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key_der)
            .context("tls_certificate and tls_key do not belong together")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Serves `router` on `listener` until `shutdown`, then drains for [`DRAIN_DEADLINE`] at most.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsSetup>,
    router: Router,
    shutdown: CancellationToken,
) {
    serve_with(listener, tls, router, shutdown, Timeouts::default()).await;
}

/// [`serve`] with other waiting times.
pub async fn serve_with(
    listener: TcpListener,
    tls: Option<TlsSetup>,
    router: Router,
    shutdown: CancellationToken,
    timeouts: Timeouts,
) {
    let server = Server {
        acceptor: tls.map(|TlsSetup(config)| TlsAcceptor::from(config)),
        http: http(timeouts),
        router,
        shutdown,
    };
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((stream, peer)) = server.accept(&listener).await {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed, so only the shutdown ends the wait.
        let slot = Arc::clone(&slots).acquire_owned();
        let Some(Ok(slot)) = server.shutdown.run_until_cancelled(slot).await else {
            break;
        };
        let connection = server.clone().connection(stream, peer, graceful.watcher());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if timeout(timeouts.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still at work at the drain deadline; they are cut");
    }
    connections.shutdown().await;
}

fn http(timeouts: Timeouts) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(timeouts.header_read)
        .max_buf_size(HEADER_LIMIT_BYTES)
        .keep_alive(true);
    http
}

#[derive(Clone)]
struct Server {
    acceptor: Option<TlsAcceptor>,
    http: http1::Builder,
    router: Router,
    shutdown: CancellationToken,
}

impl Server {
    /// The next connection; `None` once it is time to stop.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, Peer)> {
        loop {
            match self.shutdown.run_until_cancelled(listener.accept()).await? {
                Ok((stream, address)) => {
                    // Small answers leave at once.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, Peer::of(address.ip())));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, peer: Peer, watcher: Watcher) {
        let Some(acceptor) = &self.acceptor else {
            return self.speak(stream, peer, watcher).await;
        };
        let handshake = timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        match self.shutdown.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => self.speak(stream, peer, watcher).await,
            Some(Ok(Err(error))) => tracing::debug!(error = %error, "TLS handshake failed"),
            Some(Err(_)) | None => {}
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: Peer,
        watcher: Watcher,
    ) {
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        let connection = self
            .http
            .serve_connection(TokioIo::new(Counted::wrap(stream)), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error = %error, "connection ended early");
        }
    }
}
