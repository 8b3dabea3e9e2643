//! The program itself: killed without warning, and what it writes to its log.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use openset_protocol::cardholder::registration::Outcome;
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{PASSPHRASE, Place, ask, issued, wait_until_ready};
use crate::durability::pan_needles;
use crate::wallet::until_cert_req;

pub(crate) struct Program(Child);

impl Program {
    pub(crate) async fn start(place: &Place, port: u16, log: &Path) -> Self {
        let config = place.config_file(PASSPHRASE, &format!("127.0.0.1:{port}"));
        let child = Command::new(env!("CARGO_BIN_EXE_openset-ca"))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(log).unwrap())
            .spawn()
            .unwrap();
        let program = Self(child);
        wait_until_ready(&format!("http://127.0.0.1:{port}")).await;
        program
    }

    /// A program none of whose files grows beyond so many blocks of 512 bytes.
    pub(crate) async fn start_with_room(place: &Place, port: u16, blocks: u64) -> Self {
        let config = place.config_file(PASSPHRASE, &format!("127.0.0.1:{port}"));
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --config \"$1\"");
        let child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_openset-ca")])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self(child);
        wait_until_ready(&format!("http://127.0.0.1:{port}")).await;
        program
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port below those that others are given by chance, from 32768 on, and that no other test is given.
pub(crate) fn free_port() -> u16 {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(64).wrapping_add(number) % 10_000;
        let port = 20_000 + u16::try_from(offset).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ca_goes_on_and_its_log_holds_no_card_number() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let program = Program::start(&place, port, &log).await;
    let trust = place.trust(&url).await;
    let wallet = until_cert_req(&url, trust.verifier(), CODE, &keys::key("wallet")).await;
    program.kill();
    let program = Program::start(&place, port, &log).await;
    let wire = ask(&url, &wallet.wire).await;
    program.kill();
    let program = Program::start(&place, port, &log).await;
    assert_eq!(ask(&url, &wallet.wire).await, wire);
    assert_eq!(issued(&url).await, 1);
    assert!(matches!(
        wallet.outcome(&wire, trust.verifier()),
        Outcome::Registered(_)
    ));
    program.kill();
    let written = std::fs::read(&log).unwrap();
    assert!(
        String::from_utf8_lossy(&written).contains("certificate issued"),
        "the log is read"
    );
    for needle in pan_needles() {
        assert!(!written.windows(needle.len()).any(|window| window == needle));
        assert!(!place.holds(&needle));
    }
}
