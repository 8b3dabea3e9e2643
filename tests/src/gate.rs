//! A place between wallet and merchant where a test holds messages up.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::net::TcpListener;

/// Hands on what comes to its `/set`, but for messages that are held.
pub struct Gate {
    url: String,
    passage: Arc<Passage>,
}

#[derive(Default)]
struct Passage {
    client: reqwest::Client,
    /// Where it leads.
    target: Mutex<String>,
    /// What is held, and how many of them came.
    held: Mutex<Option<(&'static str, usize)>>,
}

impl Gate {
    /// Opens it, on a free port.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let passage = Arc::new(Passage::default());
        let router = Router::new()
            .route("/set", post(pass))
            .with_state(Arc::clone(&passage));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, passage }
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Messages go on to `target`, the address of a service.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.passage.target.lock().unwrap());
    }

    /// From now on messages of this name are answered with 503.
    pub fn hold(&self, message: &'static str) {
        *self.passage.held.lock().unwrap() = Some((message, 0));
    }

    /// Lets everything pass; says how many messages were held since.
    pub fn let_pass(&self) -> usize {
        let held = self.passage.held.lock().unwrap().take();
        held.map_or(0, |(_, count)| count)
    }
}

impl Passage {
    /// Whether a message has to wait.
    fn holds(&self, body: &[u8]) -> bool {
        let mut held = self.held.lock().unwrap();
        let Some((message, count)) = held.as_mut() else {
            return false;
        };
        let name = format!("\"{message}\":");
        let is_it = body
            .windows(name.len())
            .any(|window| window == name.as_bytes());
        *count += usize::from(is_it);
        is_it
    }
}

async fn pass(State(passage): State<Arc<Passage>>, headers: HeaderMap, body: Bytes) -> Response {
    if passage.holds(&body) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let url = format!("{}/set", passage.target.lock().unwrap());
    let request = passage.client.post(url).body(body);
    let request = request.header(header::CONTENT_TYPE, &headers[header::CONTENT_TYPE]);
    let Ok(answer) = request.send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let status = answer.status();
    let media_type = answer.headers().get(header::CONTENT_TYPE).cloned();
    let body = answer.bytes().await.unwrap();
    let mut response = (status, body).into_response();
    if let Some(media_type) = media_type {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
    }
    response
}
