//! Bodies that are bounded in size and in time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::peer::Share;
use crate::server::SET_BODY_LIMIT_BYTES;

/// An oversize body is read on for this much, so that its sender gets to read why it is refused.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// So much of a body is taken in before its request is at work; the few that may be longer arrive while it is.
const TAKEN_IN_BYTES_MAX: usize = SET_BODY_LIMIT_BYTES;
/// Room that is made for a body before any of it has come, whatever its sender announces.
const FIRST_ROOM_BYTES: usize = 16 * 1024;

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    Incomplete,
}

/// The whole body, if it has at most `limit` bytes.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit.saturating_add(DISCARDED_BYTES_MAX) {
        return Err(BodyError::TooLarge);
    }
    let mut whole = Vec::with_capacity(announced.min(limit));
    let mut read_bytes: usize = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else {
            continue;
        };
        read_bytes = read_bytes.saturating_add(data.len());
        if read_bytes <= limit {
            whole.extend_from_slice(&data);
        } else if read_bytes > limit.saturating_add(DISCARDED_BYTES_MAX) {
            break;
        }
    }
    if read_bytes > limit {
        return Err(BodyError::TooLarge);
    }
    Ok(whole.into())
}

/// The body once it has arrived, or has failed to, or is longer than most. It is for the handler to say what that
/// means.
pub(crate) async fn take_in(mut body: DeadlineBody, share: Share) -> Body {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut start = Vec::with_capacity(announced.min(FIRST_ROOM_BYTES));
    while announced <= TAKEN_IN_BYTES_MAX && start.len() <= TAKEN_IN_BYTES_MAX {
        match body.frame().await {
            None => return Body::from(start),
            Some(Ok(frame)) => start.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) => {
                let rest = Rest::Lost(Some(error));
                return Body::new(TakenIn { start: None, rest });
            }
        }
    }
    let start = Some(start.into()).filter(|start: &Bytes| !start.is_empty());
    let rest = Rest::Coming(body, share);
    Body::new(TakenIn { start, rest })
}

/// A body of which a part has arrived.
#[derive(Debug)]
struct TakenIn {
    start: Option<Bytes>,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Coming(
        DeadlineBody,
        #[expect(dead_code, reason = "given back when dropped")] Share,
    ),
    Lost(Option<axum::Error>),
}

impl HttpBody for TakenIn {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        match &mut self.rest {
            Rest::Coming(body, _) => Pin::new(body).poll_frame(context),
            Rest::Lost(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::Coming(body, _) => {
                let start = self.start.as_ref().map_or(0, Bytes::len);
                let start = u64::try_from(start).unwrap_or(u64::MAX);
                let mut hint = SizeHint::new();
                hint.set_lower(body.size_hint().lower().saturating_add(start));
                hint
            }
            Rest::Lost(_) => SizeHint::new(),
        }
    }
}

/// A body that fails unless it has arrived whole by a deadline, however steadily it trickles.
#[derive(Debug)]
pub(crate) struct DeadlineBody {
    inner: Body,
    deadline: Instant,
    /// Made when the body is first waited for, which for small ones is never.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl DeadlineBody {
    pub(crate) fn new(inner: Body, time: Duration) -> Self {
        Self {
            inner,
            deadline: Instant::now() + time,
            alarm: None,
        }
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let deadline = self.deadline;
        // What is there already is taken even if it is late: the size limits end that soon enough.
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(alarm.as_mut().poll(context));
        let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
