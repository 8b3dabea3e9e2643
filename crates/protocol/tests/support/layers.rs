//! Takes a message apart, layer by layer, down to every signed and sealed field, and puts it together
//! again: what was altered is sealed and signed again with the real keys, what was not stays as it was,
//! byte for byte.

use openset_jose::{ContentKey, PrivateKey, Thumbprint, base64url, default_provider, jwe, jws};
use openset_protocol::content_type::ContentType;
use openset_protocol::digest::digest;
use openset_testkit::keys::rng;
use rand_core::CryptoRng;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fields that hold JSON as exact bytes.
const EXACT_BYTES: [&str; 5] = [
    "oi_data",
    "pi_data",
    "baggage",
    "cap_token_seq",
    "acct_info",
];

/// The name, in paths, of a JWS that is sealed with nothing around it.
const NAKED: &str = "~";

/// A random source that differs at each call.
pub fn fresh_rng() -> impl CryptoRng {
    static SEED: AtomicU64 = AtomicU64::new(1_000);
    rng(SEED.fetch_add(1, Ordering::Relaxed))
}

/// Every private key of the test's world, by the certificate that names it or, where none does, by
/// content type.
#[derive(Default)]
pub struct KeyRing {
    by_certificate: BTreeMap<Thumbprint, PrivateKey>,
    by_content: BTreeMap<&'static str, PrivateKey>,
    symmetric: BTreeMap<&'static str, ContentKey>,
}

impl KeyRing {
    pub fn add(&mut self, certificate: Thumbprint, key: PrivateKey) {
        self.by_certificate.insert(certificate, key);
    }

    #[allow(
        dead_code,
        reason = "keys without certificates are in registrations alone"
    )]
    pub fn add_for(&mut self, content: ContentType, key: PrivateKey) {
        self.by_content.insert(content.name(), key);
    }

    pub fn add_symmetric(&mut self, content: ContentType, key: ContentKey) {
        self.symmetric.insert(content.name(), key);
    }

    fn key(&self, certificate: Option<Thumbprint>, content: &str) -> &PrivateKey {
        let named = certificate.map_or_else(
            || self.by_content.get(content),
            |thumbprint| self.by_certificate.get(&thumbprint),
        );
        named.unwrap_or_else(|| panic!("the test has no key for {content}"))
    }

    /// The key that signed an object.
    #[allow(dead_code, reason = "not every binary needs it")]
    pub fn signer(&self, signed: &str) -> &PrivateKey {
        let object = jws::Unverified::parse(signed).unwrap();
        self.key(object.header().x5t_s256, &object.header().cty)
    }

    /// The key that opens an object.
    #[allow(dead_code, reason = "not every binary needs it")]
    pub fn opener(&self, sealed: &str) -> &PrivateKey {
        let object = jwe::Sealed::parse(sealed).unwrap();
        self.key(object.header().x5t_s256, &object.header().cty)
    }

    /// The key of both sides that opens an object.
    #[allow(dead_code, reason = "not every binary needs it")]
    pub fn content_key(&self, sealed: &str) -> &ContentKey {
        &self.symmetric[jwe::Sealed::parse(sealed).unwrap().header().cty.as_str()]
    }

    /// What an object holds.
    pub fn open(&self, sealed: &jwe::Sealed) -> Vec<u8> {
        let header = sealed.header();
        let plaintext = match header.alg {
            jwe::Alg::RsaOaep256 => sealed.open(self.key(header.x5t_s256, &header.cty)),
            jwe::Alg::Direct => {
                sealed.open_direct(default_provider(), &self.symmetric[header.cty.as_str()])
            }
        };
        plaintext.unwrap().to_vec()
    }

    fn seal(&self, header: &jwe::Header, plaintext: &[u8]) -> String {
        let rng = &mut fresh_rng();
        let sealed = match header.alg {
            jwe::Alg::RsaOaep256 => {
                let recipient = self.key(header.x5t_s256, &header.cty).public_key();
                jwe::seal(rng, recipient, header.x5t_s256, &header.cty, plaintext)
            }
            jwe::Alg::Direct => {
                let key = &self.symmetric[header.cty.as_str()];
                jwe::seal_direct(rng, default_provider(), key, &header.cty, plaintext)
            }
        };
        sealed.unwrap()
    }

    fn sign(&self, header: &jws::Header, payload: &[u8]) -> String {
        let key = self.key(header.x5t_s256, &header.cty);
        jws::sign(&mut fresh_rng(), key, header, payload).unwrap()
    }
}

/// A piece of a message.
#[derive(Clone)]
pub enum Node {
    /// A value with nothing inside.
    Leaf(Value),
    /// An object.
    Object(BTreeMap<String, Node>),
    /// A list.
    List(Vec<Node>),
    /// A JWS.
    Signed {
        compact: String,
        header: jws::Header,
        inside: Box<Node>,
    },
    /// A JWE.
    Sealed { compact: String, inside: Box<Node> },
    /// JSON that travels as the exact bytes that were hashed.
    Bytes { text: String, inside: Box<Node> },
}

impl Node {
    fn read(name: &str, value: Value, ring: &KeyRing) -> Self {
        let below = |value: Value| Box::new(Self::read("", value, ring));
        match value {
            Value::Object(fields) => {
                let read = |(name, value): (String, Value)| {
                    let node = Self::read(&name, value, ring);
                    (name, node)
                };
                Self::Object(fields.into_iter().map(read).collect())
            }
            Value::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Self::read("", item, ring))
                    .collect(),
            ),
            Value::String(text) if EXACT_BYTES.contains(&name) => {
                let inside =
                    below(serde_json::from_slice(&base64url::decode(&text).unwrap()).unwrap());
                Self::Bytes { text, inside }
            }
            Value::String(text) if text.starts_with("eyJ") && text.matches('.').count() == 2 => {
                let object = jws::Unverified::parse(&text).unwrap();
                let inside =
                    below(serde_json::from_slice(object.danger_unverified_payload()).unwrap());
                Self::Signed {
                    compact: text,
                    header: object.header().clone(),
                    inside,
                }
            }
            Value::String(text) if text.starts_with("eyJ") && text.matches('.').count() == 4 => {
                let plaintext = ring.open(&jwe::Sealed::parse(&text).unwrap());
                // What is sealed is JSON or, where nothing but a JWS is, its text.
                let value = serde_json::from_slice(&plaintext)
                    .unwrap_or_else(|_| Value::String(String::from_utf8(plaintext).unwrap()));
                Self::Sealed {
                    compact: text,
                    inside: below(value),
                }
            }
            other => Self::Leaf(other),
        }
    }

    fn write(&self, ring: &KeyRing) -> Value {
        match self {
            Self::Leaf(value) => value.clone(),
            Self::Object(fields) => {
                let write = |(name, node): (&String, &Node)| (name.clone(), node.write(ring));
                Value::Object(fields.iter().map(write).collect::<Map<_, _>>())
            }
            Self::List(items) => items.iter().map(|item| item.write(ring)).collect(),
            Self::Signed {
                compact,
                header,
                inside,
            } => {
                let payload = inside.write(ring);
                // Something that no longer reads as a JWS was put there on purpose.
                let Ok(before) = jws::Unverified::parse(compact) else {
                    return compact.clone().into();
                };
                let same = serde_json::from_slice::<Value>(before.danger_unverified_payload())
                    .is_ok_and(|before| before == payload);
                if same && before.header() == header {
                    return compact.clone().into();
                }
                ring.sign(header, &serde_json::to_vec(&payload).unwrap())
                    .into()
            }
            Self::Sealed { compact, inside } => {
                let sealed = jwe::Sealed::parse(compact).unwrap();
                let plaintext = inside.write(ring);
                let before = serde_json::from_slice::<Value>(&ring.open(&sealed));
                if before.is_ok_and(|before| before == plaintext) {
                    return compact.clone().into();
                }
                ring.seal(sealed.header(), &serde_json::to_vec(&plaintext).unwrap())
                    .into()
            }
            Self::Bytes { text, inside } => {
                let json = inside.write(ring);
                let before = serde_json::from_slice::<Value>(&base64url::decode(text).unwrap());
                if before.unwrap() == json {
                    return text.clone().into();
                }
                base64url::encode(&serde_json::to_vec(&json).unwrap()).into()
            }
        }
    }

    /// Fixes the bytes of each layer, innermost first: sealing the same again gives other bytes.
    fn settle(&mut self, ring: &KeyRing) {
        match self {
            Self::Leaf(_) => return,
            Self::Object(fields) => return fields.values_mut().for_each(|node| node.settle(ring)),
            Self::List(items) => return items.iter_mut().for_each(|node| node.settle(ring)),
            Self::Signed { inside, .. }
            | Self::Sealed { inside, .. }
            | Self::Bytes { inside, .. } => {
                inside.settle(ring);
            }
        }
        let written = self.write(ring);
        if let Self::Signed { compact: text, .. }
        | Self::Sealed { compact: text, .. }
        | Self::Bytes { text, .. } = self
        {
            written.as_str().unwrap().clone_into(text);
        }
    }

    /// What a digest over this piece hashes.
    fn bytes(&self, ring: &KeyRing) -> Vec<u8> {
        let written = self.write(ring);
        let text = written.as_str().unwrap();
        if matches!(self, Self::Bytes { .. }) {
            base64url::decode(text).unwrap()
        } else {
            text.as_bytes().to_vec()
        }
    }

    fn child(&mut self, name: &str) -> Option<&mut Node> {
        match self {
            Self::Object(fields) => fields.get_mut(name),
            Self::List(items) => items.get_mut(name.parse::<usize>().ok()?),
            Self::Signed { inside, .. }
            | Self::Sealed { inside, .. }
            | Self::Bytes { inside, .. } => {
                if name == NAKED {
                    Some(inside)
                } else {
                    inside.child(name)
                }
            }
            Self::Leaf(_) => None,
        }
    }

    /// The object's fields, also through a layer.
    pub fn fields(&mut self) -> Option<&mut BTreeMap<String, Node>> {
        match self {
            Self::Object(fields) => Some(fields),
            Self::Signed { inside, .. }
            | Self::Sealed { inside, .. }
            | Self::Bytes { inside, .. } => inside.fields(),
            Self::List(_) | Self::Leaf(_) => None,
        }
    }

    fn visit(&self, path: &str, see: &mut impl FnMut(&str, &Node)) {
        see(path, self);
        let join = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            }
        };
        match self {
            Self::Sealed { inside, .. } if matches!(**inside, Self::Signed { .. }) => {
                inside.visit(&join(NAKED), see);
            }
            Self::Object(fields) => fields
                .iter()
                .for_each(|(name, node)| node.visit(&join(name), see)),
            Self::List(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, node)| node.visit(&join(&at.to_string()), see));
            }
            Self::Signed { inside, .. }
            | Self::Sealed { inside, .. }
            | Self::Bytes { inside, .. } => {
                inside.visit(path, see);
            }
            Self::Leaf(_) => {}
        }
    }
}

/// A digest inside a message over another part of it.
#[derive(Clone, Copy)]
pub struct Link {
    /// What is hashed.
    pub over: &'static str,
    /// As which type.
    pub content: ContentType,
    /// Where the digest stands.
    pub at: &'static str,
}

/// A message taken apart.
#[derive(Clone)]
pub struct Letter {
    pub header: Value,
    pub name: String,
    pub body: Node,
}

impl Letter {
    pub fn open(wire: &[u8], ring: &KeyRing) -> Self {
        let mut wrapper: Value = serde_json::from_slice(wire).unwrap();
        let message = wrapper["message"].take();
        let (name, content) = message.as_object().unwrap().iter().next().unwrap();
        let body = Node::read(name, content.clone(), ring);
        Self {
            header: wrapper["message_header"].take(),
            name: name.clone(),
            body,
        }
    }

    /// The message as a wrapper's bytes.
    pub fn close(&self, ring: &KeyRing) -> Vec<u8> {
        let body = self.body.write(ring);
        let wrapper = serde_json::json!({
            "message_header": self.header,
            "message": { self.name.clone(): body },
        });
        serde_json::to_vec(&wrapper).unwrap()
    }

    /// The piece at a path. Layers have no name of their own in it.
    pub fn at(&mut self, path: &str) -> &mut Node {
        self.find(path)
            .unwrap_or_else(|| panic!("there is no {path}"))
    }

    fn find(&mut self, path: &str) -> Option<&mut Node> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(&mut self.body, |node, name| node.child(name))
    }

    /// The value of a leaf.
    pub fn leaf(&mut self, path: &str) -> &mut Value {
        match self.at(path) {
            Node::Leaf(value) => value,
            _ => panic!("{path} is not a leaf"),
        }
    }

    /// The paths of all values that have nothing inside.
    pub fn leaves(&self) -> Vec<String> {
        self.paths(|node| matches!(node, Node::Leaf(_)))
    }

    /// The paths of all signed and sealed objects, outermost first.
    pub fn objects(&self) -> Vec<String> {
        self.paths(|node| matches!(node, Node::Signed { .. } | Node::Sealed { .. }))
    }

    /// The paths of all signed objects.
    #[allow(dead_code, reason = "not every binary needs it")]
    pub fn signed(&self) -> Vec<String> {
        self.paths(|node| matches!(node, Node::Signed { .. }))
    }

    /// The paths of all objects with fields.
    pub fn records(&self) -> Vec<String> {
        self.paths(|node| matches!(node, Node::Object(_)))
    }

    fn paths(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        self.body.visit("", &mut |path, node| {
            if wanted(node) {
                found.push(path.to_owned());
            }
        });
        found
    }

    /// Computes the digests inside anew, all but the one at `except`.
    pub fn relink(&mut self, links: &[Link], except: &str, ring: &KeyRing) {
        for link in links.iter().filter(|link| link.at != except) {
            let Some(node) = self.find(link.over) else {
                continue;
            };
            node.settle(ring);
            let bytes = node.bytes(ring);
            if let Some(Node::Leaf(value)) = self.find(link.at) {
                *value = Value::String(digest(link.content, &bytes).to_string());
            }
        }
    }
}
