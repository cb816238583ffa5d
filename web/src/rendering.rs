//! Fragments rendered while somebody watches, once for all who watch the same.

use crate::{
    failure::{Failure, chain},
    locale::Language,
};
use backend::live::{LiveEvent, LiveKind};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::{broadcast, watch},
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// A rendered fragment.
pub(crate) struct Fragment {
    pub(crate) html: String,
    /// Nothing will change after this.
    pub(crate) last: bool,
}

/// How often a stream is rendered.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// The least time between two renderings, however much happens.
    pub(crate) gap: Duration,
    /// The longest time between two renderings, even without an event.
    pub(crate) tick: Duration,
}

/// The current fragment. A slow reader misses some, and sees the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Nothing was rendered yet.
    Nothing,
    Shown(Arc<str>),
    /// Nothing will change after this.
    Last(Arc<str>),
    /// The thing, or the right to see it, is gone. The page says so when it is reloaded.
    Gone,
}

/// A task that renders as long as there are viewers.
pub(crate) struct Source {
    pub(crate) frames: watch::Receiver<Frame>,
    task: AbortHandle,
    /// Where other viewers of the same find it.
    listed: Option<(Arc<Shared>, SharedKey)>,
}

/// What is shown, and in which language.
type SharedKey = (String, Language);

/// The sources that several viewers may share.
#[derive(Default)]
pub(crate) struct Shared(Mutex<HashMap<SharedKey, Weak<Source>>>);

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
        if let Some((shared, key)) = self.listed.take() {
            let mut sources = shared.0.lock();
            // Another may have taken its place already.
            if sources.get(&key).is_some_and(|source| source.strong_count() == 0) {
                sources.remove(&key);
            }
        }
    }
}

impl Source {
    pub(crate) fn start<R, F>(
        events: broadcast::Receiver<LiveEvent>,
        shutdown: CancellationToken,
        pace: Pace,
        relevant: impl Fn(&LiveEvent) -> bool + Send + Sync + 'static,
        render: R,
    ) -> Self
    where
        R: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Fragment, Failure>> + Send,
    {
        let (show, frames) = watch::channel(Frame::Nothing);
        let task = tokio::spawn(async move {
            shutdown.run_until_cancelled(feed(events, pace, relevant, render, &show)).await;
        });
        Self { frames, task: task.abort_handle(), listed: None }
    }
}

impl Shared {
    /// The source with this key; it is started if it has no viewers yet.
    pub(crate) fn source(self: &Arc<Self>, key: SharedKey, start: impl FnOnce() -> Source) -> Arc<Source> {
        let mut sources = self.0.lock();
        if let Some(source) = sources.get(&key).and_then(Weak::upgrade) {
            return source;
        }
        let listed = Some((self.clone(), key.clone()));
        let mut source = start();
        source.listed = listed;
        let source = Arc::new(source);
        sources.insert(key, Arc::downgrade(&source));
        source
    }
}

async fn feed<R, F>(
    mut events: broadcast::Receiver<LiveEvent>,
    pace: Pace,
    relevant: impl Fn(&LiveEvent) -> bool,
    render: R,
    show: &watch::Sender<Frame>,
) where
    R: Fn() -> F,
    F: Future<Output = Result<Fragment, Failure>>,
{
    let mut tick = interval(pace.tick);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    loop {
        let rendered_at = Instant::now();
        match render().await {
            Ok(Fragment { html, last: true }) => {
                show.send_replace(Frame::Last(html.into()));
                return;
            }
            Ok(Fragment { html, last: false }) => {
                let frame = Frame::Shown(html.into());
                show.send_if_modified(|shown| {
                    let changed = *shown != frame;
                    *shown = frame;
                    changed
                });
            }
            Err(Failure::NotFound | Failure::Backend(backend::Error::NotFound(_))) => {
                show.send_replace(Frame::Gone);
                return;
            }
            Err(failure) => tracing::warn!(cause = %chain(&failure), "a live fragment could not be rendered"),
        }
        sleep_until(rendered_at + pace.gap).await;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    // The viewer may have lost access; rendering checks it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{CONTENT_TYPE, respond};
    use futures_util::future;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::time::sleep;

    const PACE: Pace = Pace { gap: Duration::ZERO, tick: Duration::from_millis(1) };

    fn key(language: Language) -> SharedKey {
        ("token".into(), language)
    }

    /// Shows how often it was rendered, `last` times.
    pub(crate) fn source(tell: &broadcast::Sender<LiveEvent>, last: u64) -> Source {
        let rendered = AtomicU64::new(0);
        let render = move || {
            let times = rendered.fetch_add(1, Ordering::SeqCst) + 1;
            future::ready(Ok(Fragment { html: times.to_string(), last: times == last }))
        };
        Source::start(tell.subscribe(), CancellationToken::new(), PACE, |_| true, render)
    }

    #[tokio::test]
    async fn a_shared_fragment_is_rendered_once_and_dropped_when_unwatched() {
        let (tell, _) = broadcast::channel(1);
        let shared = Arc::new(Shared::default());
        let first = shared.source(key(Language::En), || source(&tell, u64::MAX));
        let second = shared.source(key(Language::En), || panic!("it is rendered already"));
        let other = shared.source(key(Language::Zh), || source(&tell, u64::MAX));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert_eq!(tell.receiver_count(), 2);
        drop((first, other));
        assert_eq!(shared.0.lock().len(), 1, "somebody still watches");
        drop(second);
        assert!(shared.0.lock().is_empty());
        while tell.receiver_count() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let again = shared.source(key(Language::En), || source(&tell, u64::MAX));
        assert!(again.frames.clone().changed().await.is_ok(), "it is rendered again for who comes back");
    }

    #[tokio::test]
    async fn a_subscriber_sees_the_newest_frame_and_the_end() {
        let (tell, _) = broadcast::channel(1);
        let source = Arc::new(source(&tell, 3));
        for comes in ["from the beginning", "when it is over"] {
            let response = respond(source.clone(), (), CancellationToken::new());
            assert_eq!(response.content_type(), Some(CONTENT_TYPE));
            assert_eq!(response.headers()["x-accel-buffering"], "no");
            let text = response.into_body().into_string().await.unwrap();
            assert!(text.starts_with("retry: 2000"), "{comes}: {text}");
            assert!(text.contains("event: fragment\ndata: 3"), "{comes}: {text}");
            assert!(text.ends_with("event: end\ndata: rest\n\n"), "{comes}: {text}");
        }
    }
}
