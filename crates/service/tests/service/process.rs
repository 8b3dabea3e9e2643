//! The example service as a process: flags, signals, memory.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The example beside this test, built if only the test was.
fn example() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let built = profile.join("examples/minimal");
        if !built.exists() {
            // As `cargo test` builds it: with other features, all would be compiled anew beside the other tests.
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args([
                "build",
                "--quiet",
                "--workspace",
                "--all-features",
                "--example=minimal",
            ]);
            cargo.arg("--target-dir").arg(profile.parent().unwrap());
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success());
        }
        built
    });
    let mut command = Command::new(path);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &id])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn service_ends_well_on_either_signal_and_stays_small() {
    for name in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = example()
            .args(["--listen=127.0.0.1:0", "--greeting=hello", "--data-dir"])
            .arg(folder.path().join("data"))
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = line.split("address=").nth(1).unwrap().trim();
        let body = reqwest_get(&format!("http://{address}/greeting"));
        assert_eq!(body, "hello");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let resident = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap();
        let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 40 * 1024, "{resident}");
        signal(&child, name);
        assert!(child.wait().unwrap().success(), "{name}");
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stopped"), "{rest}");
    }
}

fn reqwest_get(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() })
}

#[test]
fn unusable_flag_is_told_and_help_names_the_variables() {
    let output = example().arg("--listen=0.0.0.0:0").output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("tls_certificate"), "{told}");
    let output = example().arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("--greeting") && help.contains("OPENSET_MERCHANT_"),
        "{help}"
    );
}
