//! Every world is audited when its test is done: whatever the test was about, the stores of its services must agree.

use std::time::{SystemTime, UNIX_EPOCH};

use openset::audit::{Options, audit};

use crate::World;

impl World {
    /// The audit of its stores, wherever they are.
    #[must_use]
    pub fn audit_options(&self) -> Options {
        Options {
            issuer_url: self.database_url("issuer"),
            gateway_url: self.database_url("gateway"),
            merchant_url: self.database_url("merchant"),
            ca_url: self.database_url("ca"),
            ahead_s: ahead_s(),
            ..Options::of_folder(self.folder.path())
        }
    }

    /// Where a party's database is, if not in its folder.
    #[must_use]
    pub fn database_url(&self, party: &str) -> Option<String> {
        let path = self.folder_of(party).join(format!("{party}.toml"));
        let table: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
        Some(table.get("database_url")?.as_str()?.to_owned())
    }

    /// Its stores do not agree, and that is what the test is about.
    pub fn danger_unaudited(&mut self) {
        self.audits = false;
    }

    /// What its stores say, if not that all of it agrees. Services may go on meanwhile.
    pub(crate) fn discrepancies(&self) -> Result<(), String> {
        let options = self.audit_options();
        // A runtime of its own: this one is the test's, and waits for us.
        let audited = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(audit(&options))
        });
        match audited.join().unwrap() {
            Ok(report) if report.agrees => Ok(()),
            Ok(report) => Err(report.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

/// How far the test has moved its clock.
fn ahead_s() -> i64 {
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    openset_service::clock::now_seconds() - i64::try_from(real.as_secs()).unwrap()
}
