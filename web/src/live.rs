//! Live pages: server-sent events that carry re-rendered fragments.
//!
//! Events only say that something happened; the fragment is always made from what the store says now. So nothing is
//! wrong for long, however many events are missed.

use crate::{
    failure::{Failure, chain},
    page::Page,
};
use backend::live::{LiveEvent, LiveKind};
use poem::{
    IntoResponse, Response,
    web::sse::{Event, SSE},
};
use std::{future::Future, time::Duration};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;

/// Comments that keep proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this; the browser opens another.
const STREAM_LIFE: Duration = Duration::from_secs(3600);
/// Fragments that may wait for a slow reader; beyond, rendering waits.
const UNREAD_FRAGMENTS: usize = 2;
/// How soon the browser comes back (milliseconds).
const RETRY_MS: u64 = 2000;

/// A rendered fragment.
pub(crate) struct Fragment {
    pub(crate) html: String,
    /// Nothing will change after this.
    pub(crate) last: bool,
}

/// How often a stream renders.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Not sooner than this after the last time, however much happens.
    pub(crate) gap: Duration,
    /// Also without an event, after this.
    pub(crate) tick: Duration,
}

/// A stream of fragments: one at once, then one whenever a `relevant` event or a tick changed what `render` gives.
///
/// # Errors
/// If all streams are taken.
pub(crate) fn fragments<R, F>(
    page: &Page,
    pace: Pace,
    relevant: impl Fn(&LiveEvent) -> bool + Send + Sync + 'static,
    render: R,
) -> Result<Response, Failure>
where
    R: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Fragment, Failure>> + Send,
{
    let permit = page.app.streams.clone().try_acquire_owned().map_err(|_| Failure::Busy)?;
    // Subscribed before the first look, so that nothing falls between.
    let events = page.app.backend.watch();
    let shutdown = page.app.shutdown.clone();
    let (send, receive) = mpsc::channel(UNREAD_FRAGMENTS);
    tokio::spawn(async move {
        let _permit = permit;
        let gone = send.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = gone.closed() => {}
            () = sleep(STREAM_LIFE) => {}
            () = feed(events, pace, relevant, render, send) => {}
        }
    });
    Ok(SSE::new(ReceiverStream::new(receive)).keep_alive(HEARTBEAT).into_response())
}

async fn feed<R, F>(
    mut events: broadcast::Receiver<LiveEvent>,
    pace: Pace,
    relevant: impl Fn(&LiveEvent) -> bool,
    render: R,
    send: mpsc::Sender<Event>,
) where
    R: Fn() -> F,
    F: Future<Output = Result<Fragment, Failure>>,
{
    let mut shown = String::new();
    let mut tick = interval(pace.tick);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    if send.send(Event::retry(RETRY_MS)).await.is_err() {
        return;
    }
    loop {
        let rendered_at = Instant::now();
        match render().await {
            Ok(fragment) => {
                if fragment.html != shown {
                    let event = Event::message(fragment.html.clone()).event_type("fragment");
                    if send.send(event).await.is_err() {
                        return;
                    }
                    shown = fragment.html;
                }
                if fragment.last {
                    let _ = send.send(Event::message("rest").event_type("end")).await;
                    return;
                }
            }
            // The thing, or the right to see it, is gone: the page says so when it is loaded again.
            Err(Failure::NotFound | Failure::Backend(backend::Error::NotFound(_))) => {
                let _ = send.send(Event::message("gone").event_type("reload")).await;
                return;
            }
            Err(failure) => tracing::warn!(cause = %chain(&failure), "a live fragment failed; the next one will tell"),
        }
        sleep_until(rendered_at + pace.gap).await;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    // Whoever looks on may have lost the right to: rendering finds out.
                    Ok(event) if event.what == LiveKind::Members || relevant(&event) => break,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => break,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = tick.tick() => break,
            }
        }
    }
}
