//! SET's Errors about answers: who cannot take an answer tells who gave it. Nobody signs or acts on them, for anybody may
//! write one; people read them in the log.

use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::wrapper::{MediaType, Message, MessageWrapper};
use openset_protocol::{Context, Rejection};
use reqwest::Url;

use crate::client::HttpClient;
use crate::set_endpoint::SetReply;
use crate::{clock, random};

/// Takes an Error that came as a message; it is never answered by another one. `None` for every other message.
#[must_use]
pub fn hear(wrapper: &MessageWrapper) -> Option<SetReply> {
    let Message::Error(error) = &wrapper.message else {
        return None;
    };
    let said = error.claim();
    let error = said.map_or_else(
        || "unreadable".to_owned(),
        |said| format!("{:?}: {}", said.error_code, said.error_text),
    );
    let rrpid = wrapper.message_header.rrpid.map(|rrpid| rrpid.to_string());
    tracing::warn!(
        set_message = "Error",
        rrpid = rrpid.unwrap_or_default(),
        outcome = "heard",
        error,
        "an answer was not taken, says the other side"
    );
    Some(SetReply::Heard)
}

/// Tells a party in the background that its answer was not taken, unless that was an Error itself.
pub fn tell(
    client: &HttpClient,
    url: &Url,
    media_type: MediaType,
    answer: &[u8],
    rejection: &Rejection,
) {
    let refused = MessageWrapper::decode(answer).ok();
    if refused
        .as_ref()
        .is_some_and(|wrapper| matches!(wrapper.message, Message::Error(_)))
    {
        return;
    }
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let error = ErrorMessage::answer(&mut ctx, rejection, refused.as_ref()).encode();
    let (client, url) = (client.clone(), url.clone());
    tokio::spawn(async move {
        if let Err(error) = client.post_bytes(&url, media_type.name(), error).await {
            tracing::info!(set_message = "Error", error = %error, "the other side does not hear that its answer was not taken");
        }
    });
}
