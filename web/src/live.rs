//! Live pages: server-sent events that carry re-rendered fragments.
//!
//! Events only say that something happened; the fragment is always rendered from the store's current state. So missed
//! events do no lasting harm. A fragment that is the same for all its viewers is rendered once for all of them.

use crate::{
    failure::Failure,
    guard::streams::StreamOwner,
    page::Page,
    rendering::{Fragment, Frame, Pace, Source},
};
use backend::live::LiveEvent;
use futures_util::{Stream, StreamExt, future, stream};
use poem::{
    IntoResponse, Response,
    web::sse::{Event, SSE},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::broadcast, time::sleep};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

/// The content type of a stream of events.
pub(crate) const CONTENT_TYPE: &str = "text/event-stream";
/// Comments that keep proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this; the browser opens another.
const STREAM_LIFE: Duration = Duration::from_secs(3600);
/// How soon the browser reconnects (milliseconds).
const RETRY_MS: u64 = 2000;

/// A stream of fragments: one at once, then one whenever a `relevant` event or a tick changed what `render` gives.
///
/// # Errors
/// If all streams are taken, or all that this visitor, member or sale may have.
pub(crate) fn fragments<R, F>(
    page: &Page,
    whose: StreamOwner,
    pace: Pace,
    relevant: impl Fn(&LiveEvent) -> bool + Send + Sync + 'static,
    render: R,
) -> Result<Response, Failure>
where
    R: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Fragment, Failure>> + Send,
{
    let slot = page.app.streams.take(page.visitor()?, whose)?;
    let Watched { events, shutdown } = Watched::of(page);
    let source = Source::start(events, shutdown.clone(), pace, relevant, render);
    Ok(respond(Arc::new(source), slot, shutdown))
}

/// The same, rendered once for all who watch what is called `name` in the page's language. `render` must show everybody the
/// same: see [`Page::for_everybody`].
///
/// # Errors
/// As [`fragments`].
pub(crate) fn shared_fragments<R, F>(
    page: &Page,
    name: &str,
    whose: StreamOwner,
    pace: Pace,
    relevant: impl Fn(&LiveEvent) -> bool + Send + Sync + 'static,
    render: R,
) -> Result<Response, Failure>
where
    R: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Fragment, Failure>> + Send,
{
    let slot = page.app.streams.take(page.visitor()?, whose)?;
    let Watched { events, shutdown } = Watched::of(page);
    let key = (name.to_owned(), page.look.language);
    let start = || Source::start(events, shutdown.clone(), pace, relevant, render);
    let source = page.app.shared_fragments.source(key, start);
    Ok(respond(source, slot, shutdown))
}

/// What every source watches.
struct Watched {
    events: broadcast::Receiver<LiveEvent>,
    shutdown: CancellationToken,
}

impl Watched {
    fn of(page: &Page) -> Self {
        // Subscribed before the first rendering, so that nothing is missed in between.
        Self { events: page.app.backend.watch(), shutdown: page.app.shutdown.clone() }
    }
}

/// A stream of what the source shows. `slot` is given back with its end.
pub(crate) fn respond(source: Arc<Source>, slot: impl Send + 'static, shutdown: CancellationToken) -> Response {
    let frames = WatchStream::new(source.frames.clone());
    let held = (source, slot);
    let events = frames.flat_map(move |frame| {
        let _held = &held;
        stream::iter(events_of(frame))
    });
    let over = async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(STREAM_LIFE) => {}
        }
    };
    let retry = stream::once(future::ready(Event::retry(RETRY_MS)));
    let events: std::pin::Pin<Box<dyn Stream<Item = Event> + Send>> =
        Box::pin(retry.chain(events).take_until(Box::pin(over)));
    SSE::new(events).keep_alive(HEARTBEAT).into_response()
}

fn events_of(frame: Frame) -> Vec<Event> {
    let fragment = |html: &str| Event::message(html).event_type("fragment");
    match frame {
        Frame::Nothing => vec![],
        Frame::Shown(html) => vec![fragment(&html)],
        Frame::Last(html) => vec![fragment(&html), Event::message("rest").event_type("end")],
        Frame::Gone => vec![Event::message("gone").event_type("reload")],
    }
}
