//! Bearer tokens (RFC 6750) with a scope each, from the configuration.

use axum::http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// Shorter tokens are refused at start.
pub const TOKEN_CHARS_MIN: usize = 16;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The party's own staff: captures, accounts, audit.
    Operator,
    /// A payment gateway that asks the issuer.
    Gateway,
    /// A certificate authority that asks for approval.
    Ca,
    /// The owner of the wallet.
    WalletOwner,
}

/// Who made a call: the token's name and scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name given to the token in the configuration, else the scope's name.
    pub name: String,
    /// What the token allows.
    pub scope: Scope,
}

/// The tokens that a service accepts.
///
/// In TOML: `[[tokens]]` with `token`, `scope` and, where a scope has more than one, a `name` of its own: what a
/// caller has done is kept under its name, so that two of one name would be one tenant.
/// In a struct of options: `#[arg(skip)] #[serde(skip_serializing)] pub tokens: Tokens`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Vec<TokenEntry>")]
pub struct Tokens(Vec<Token>);

/// One token as the configuration writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    token: SecretString,
    scope: Scope,
    name: Option<String>,
}

#[derive(Debug, Clone)]
struct Token {
    secret: SecretString,
    caller: Caller,
}

impl TryFrom<Vec<TokenEntry>> for Tokens {
    type Error = String;

    fn try_from(entries: Vec<TokenEntry>) -> Result<Self, String> {
        let mut tokens = Self::default();
        for TokenEntry { token, scope, name } in entries {
            if token.expose_secret().len() < TOKEN_CHARS_MIN {
                return Err(format!(
                    "a token has fewer than {TOKEN_CHARS_MIN} characters; take 32 random ones"
                ));
            }
            tokens.add(token, scope, name)?;
        }
        Ok(tokens)
    }
}

impl Tokens {
    /// Accepts one more token; without a `name` its caller is called after the scope.
    ///
    /// # Errors
    /// Another token has this name in this scope, or is the same.
    pub fn add(
        &mut self,
        secret: SecretString,
        scope: Scope,
        name: Option<String>,
    ) -> Result<(), String> {
        let name = name.unwrap_or_else(|| scope.name().to_owned());
        let caller = Caller { name, scope };
        for held in &self.0 {
            if held.caller == caller {
                return Err(format!(
                    "two [[tokens]] of scope {} are called \"{}\"; give each a name of its own with name = \"...\"",
                    scope.name(),
                    caller.name
                ));
            }
            if held.secret.expose_secret() == secret.expose_secret() {
                return Err(format!(
                    "the token of \"{}\" stands there twice; take another for \"{}\"",
                    held.caller.name, caller.name
                ));
            }
        }
        self.0.push(Token { secret, caller });
        Ok(())
    }

    /// Whether no token is accepted at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who calls, if its token has one of the `scopes`.
    ///
    /// # Errors
    /// 401 without a known token, 403 when its scope is another one.
    pub fn require(&self, headers: &HeaderMap, scopes: &[Scope]) -> Result<&Caller, Problem> {
        let caller = bearer(headers).and_then(|presented| self.find(presented));
        let Some(caller) = caller else {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send Authorization: Bearer with one of the tokens in this service's configuration",
            ));
        };
        if scopes.contains(&caller.scope) {
            return Ok(caller);
        }
        let wanted: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            format!("use a token with scope {}", wanted.join(" or ")),
        ))
    }

    /// Looks at every token, so that the time taken tells nothing of which one is near.
    fn find(&self, presented: &str) -> Option<&Caller> {
        let presented = openset_jose::sha256(presented.as_bytes());
        let mut found = None;
        for token in &self.0 {
            let held = openset_jose::sha256(token.secret.expose_secret().as_bytes());
            if bool::from(held.ct_eq(&presented)) {
                found = Some(&token.caller);
            }
        }
        found
    }
}

impl Scope {
    /// The scope as the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Gateway => "gateway",
            Self::Ca => "ca",
            Self::WalletOwner => "wallet-owner",
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
