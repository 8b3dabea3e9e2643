//! Precedence, and messages that name the key.

use std::path::PathBuf;

use openset_service::auth::Scope;
use openset_service::telemetry::LogFormat;

use crate::support::load;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn data(&self) -> String {
        self.0.path().join("data").to_str().unwrap().to_owned()
    }

    /// The message that these flags and variables are refused with.
    fn refusal(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let data = self.data();
        let args = [&["--data-dir", &data], args].concat();
        format!("{:#}", load(&args, env).unwrap_err())
    }
}

#[test]
fn flag_goes_before_variable_before_file_before_default() {
    let folder = Folder::new();
    let data = folder.data();
    let text = format!(
        "data_dir = \"{data}\"\nlisten = \"127.0.0.1:1\"\nlog = \"file\"\nissuer_url = \"file\"\n\
         public_url = \"http://file\"\ntolerance_percent = 5\n\
         [[tokens]]\ntoken = \"0123456789abcdef\"\nscope = \"operator\"\n"
    );
    let file = folder.file("gateway.toml", &text);
    let env = [
        ("OPENSET_GATEWAY_CONFIG", file.as_str()),
        ("OPENSET_GATEWAY_LISTEN", "127.0.0.1:2"),
        ("OPENSET_GATEWAY_LOG", "variable"),
        ("OPENSET_GATEWAY_ISSUER_URL", "variable"),
        ("OPENSET_GATEWAY_PUBLIC_URL", ""),
        ("OPENSET_MERCHANT_LISTEN", "another party's"),
    ];
    let config = load(&["--listen", "127.0.0.1:3", "--issuer-url=flag"], &env).unwrap();
    assert_eq!(config.common.listen.port(), 3);
    assert_eq!(config.common.log, "variable");
    assert_eq!(config.common.public_url.as_str(), "http://file/");
    assert_eq!(config.common.log_format, LogFormat::Text);
    assert_eq!(config.own.issuer_url.as_deref(), Some("flag"));
    assert_eq!(config.own.tolerance_percent, Some(5));
    assert!(config.common.database_url.starts_with("sqlite:///"));
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", "Bearer 0123456789abcdef".parse().unwrap());
    assert!(
        config
            .own
            .tokens
            .require(&headers, &[Scope::Operator])
            .is_ok()
    );
}

#[test]
fn unknown_key_is_named_with_its_place() {
    let folder = Folder::new();
    let file = folder.file("gateway.toml", "issuer_ulr = \"x\"");
    let refusal = folder.refusal(&["--config", &file], &[]);
    assert!(
        refusal.contains("issuer_ulr") && refusal.contains("gateway.toml"),
        "{refusal}"
    );
    let refusal = folder.refusal(&[], &[("OPENSET_GATEWAY_LISSEN", "1")]);
    assert!(refusal.contains("OPENSET_GATEWAY_LISSEN"), "{refusal}");
    let refusal = folder.refusal(&["--lissen=1"], &[]);
    assert!(refusal.contains("--lissen"), "{refusal}");
}

#[test]
fn value_of_another_type_is_refused_with_its_key() {
    let folder = Folder::new();
    let file = folder.file("gateway.toml", "tolerance_percent = \"much\"");
    let refusal = folder.refusal(&["--config", &file], &[]);
    assert!(refusal.contains("tolerance_percent"), "{refusal}");
    let refusal = folder.refusal(&[], &[("OPENSET_GATEWAY_LISTEN", "here")]);
    assert!(
        refusal.contains("OPENSET_GATEWAY_") && refusal.contains("--listen"),
        "{refusal}"
    );
    let refusal = folder.refusal(&["--ca-url=ftp://x"], &[]);
    assert!(refusal.contains("ca_url"), "{refusal}");
    let refusal = folder.refusal(&["--root-sha256=12"], &[]);
    assert!(refusal.contains("root_sha256"), "{refusal}");
    let short = folder.file("short.toml", "[[tokens]]\ntoken = \"tiny\"\nscope = \"ca\"");
    let refusal = folder.refusal(&["--config", &short], &[]);
    assert!(
        refusal.contains("16 characters") && !refusal.contains("tiny"),
        "{refusal}"
    );
}

#[test]
fn two_callers_of_one_name_are_refused() {
    let folder = Folder::new();
    let token = |token: &str, scope: &str, name: &str| {
        format!("[[tokens]]\ntoken = \"{token}\"\nscope = \"{scope}\"\n{name}\n")
    };
    let (one, two) = ("0123456789abcdef", "fedcba9876543210");
    let bank = "name = \"bank-a\"";
    let cases = [
        (token(one, "gateway", ""), token(two, "gateway", "")),
        (token(one, "gateway", bank), token(two, "gateway", bank)),
        (
            token(one, "gateway", ""),
            token(two, "gateway", "name = \"gateway\""),
        ),
    ];
    for (first, second) in cases {
        let file = folder.file("twins.toml", &format!("{first}{second}"));
        let refusal = folder.refusal(&["--config", &file], &[]);
        assert!(refusal.contains("give each a name of its own"), "{refusal}");
        assert!(!refusal.contains(one) && !refusal.contains(two));
    }
    let same = token(one, "gateway", "") + &token(one, "operator", "");
    let file = folder.file("same.toml", &same);
    let refusal = folder.refusal(&["--config", &file], &[]);
    assert!(refusal.contains("stands there twice"), "{refusal}");
    let told_apart = token(one, "gateway", "") + &token(two, "gateway", bank);
    let file = folder.file("apart.toml", &told_apart);
    let args = ["--data-dir", &folder.data(), "--config", &file];
    load(&args, &[]).unwrap();
}

#[test]
fn listening_to_others_without_tls_is_refused() {
    let folder = Folder::new();
    let refusal = folder.refusal(&["--listen=0.0.0.0:7003"], &[]);
    assert!(refusal.contains("tls_certificate"), "{refusal}");
    let refusal = folder.refusal(&["--tls-key=key.pem"], &[]);
    assert!(refusal.contains("tls_certificate"), "{refusal}");
    let data = folder.data();
    let tls = [
        "--listen=0.0.0.0:7003",
        "--tls-certificate=c",
        "--tls-key=k",
        "--data-dir",
        &data,
    ];
    assert_eq!(load(&tls, &[]).unwrap().common.public_url.scheme(), "https");
}

#[test]
fn secret_comes_inline_or_by_file_and_is_never_printed() {
    let folder = Folder::new();
    let data = folder.data();
    let file = folder.file("passphrase", "open sesame\nsecond line\n");
    let root = folder.file("root.sha256", &"AB:".repeat(32));
    let args = [
        "--passphrase-file",
        &file,
        "--root-sha256-file",
        &root,
        "--data-dir",
        &data,
        "--issuer-token=tell nobody",
    ];
    let config = load(&args, &[]).unwrap();
    let passphrase = config.common.require_passphrase().unwrap();
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(passphrase),
        "open sesame"
    );
    assert_eq!(config.common.require_root_sha256().unwrap(), [0xab; 32]);
    assert_eq!(
        config.own.issuer_token.as_ref().unwrap().expose(),
        "tell nobody"
    );
    let printed = format!("{config:?}");
    assert!(
        !printed.contains("sesame") && !printed.contains("nobody"),
        "{printed}"
    );

    let twice = folder.refusal(&["--passphrase=x", "--passphrase-file", &file], &[]);
    assert!(twice.contains("passphrase_file"), "{twice}");
    let bare = load(&["--data-dir", &data], &[]).unwrap().common;
    let missing = bare.require_passphrase().unwrap_err().to_string();
    assert!(missing.contains("passphrase_file"), "{missing}");
    assert_eq!(bare.replica, config.common.replica);
}
