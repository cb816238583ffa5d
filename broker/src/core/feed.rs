//! A feed: the messages within some filters, over the death of routers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, warn};

use super::header;
use super::router::{Forwarded, Link};
use super::{Core, CoreError, RESTART_PAUSE};
use crate::message::Message;
use crate::topic::Filter;

/// How long a feed whose link ended waits for the next router.
const GONE_PATIENCE: Duration = Duration::from_secs(3);

/// The messages within some filters, from the moment it was opened.
pub(crate) struct Feed {
    core: Arc<Core>,
    link: Link,
    generation: watch::Receiver<u64>,
    ways: Vec<Way>,
    /// What the last router took with it.
    missed: VecDeque<(u64, Arc<Message>)>,
}

/// A filter, and how far its messages were read.
struct Way {
    filter: Filter,
    /// The position of the last one.
    seen: u64,
    /// The next place in the router's log.
    next_offset: Option<u64>,
}

impl Feed {
    pub(super) async fn open(core: Arc<Core>, filters: &[Filter]) -> Result<Feed, CoreError> {
        let mut generation = core.generation.subscribe();
        let opening = async {
            loop {
                generation.mark_unchanged();
                let link = tokio::select! {
                    biased;
                    // A link to a router that was given up may never open, or be of no use.
                    _ = generation.changed() => continue,
                    link = subscribed(&core, filters.iter()) => link,
                };
                match link {
                    Ok(link) => return link,
                    Err(_) => {
                        let _ = tokio::time::timeout(RESTART_PAUSE, generation.changed()).await;
                    }
                }
            }
        };
        let link = tokio::time::timeout(core.wait, opening).await.map_err(|_| CoreError::Unavailable)?;
        let seen = core.publisher.lock().sent;
        let ways = filters.iter().map(|filter| Way { filter: filter.clone(), seen, next_offset: None }).collect();
        Ok(Feed { core, link, generation, ways, missed: VecDeque::new() })
    }

    /// The next message and its position. Waits over the death of a router, and goes over to the next.
    pub async fn next(&mut self) -> (u64, Arc<Message>) {
        loop {
            if let Some(missed) = self.missed.pop_front() {
                return missed;
            }
            let forwarded = tokio::select! {
                biased;
                // First: a router that is stuck, and was given up, may never end its links.
                _ = self.generation.changed() => Some(None),
                forwarded = self.link.next() => forwarded.map(Some),
            };
            let forwarded = match forwarded {
                Some(Some(forwarded)) => forwarded,
                Some(None) => {
                    self.go_over().await;
                    continue;
                }
                None => {
                    // The router is gone; the next is on its way. A link that ended for itself is opened again, too.
                    let _ = tokio::time::timeout(GONE_PATIENCE, self.generation.changed()).await;
                    self.go_over().await;
                    continue;
                }
            };
            if let Some(new) = self.take(forwarded) {
                return new;
            }
        }
    }

    /// The message and its position, if it was not had before.
    fn take(&mut self, forwarded: Forwarded) -> Option<(u64, Arc<Message>)> {
        let position = header::position(&forwarded)?;
        let offset = forwarded.offset;
        let message = header::from_core(forwarded)?;
        let way = self.ways.iter_mut().find(|way| way.filter.matches(&message.topic))?;
        way.look_for_loss(offset);
        if position <= way.seen {
            return None;
        }
        way.seen = position;
        Some((position, Arc::new(message)))
    }

    /// Opens a link to the router that runs now, and takes up what was missed since the last message of each filter.
    async fn go_over(&mut self) {
        loop {
            // The generation first: a router that dies from here on is noticed again.
            let generation = *self.generation.borrow_and_update();
            match subscribed(&self.core, self.ways.iter().map(|way| &way.filter)).await {
                Ok(link) => {
                    self.link = link;
                    break;
                }
                Err(error) => {
                    warn!(%error, "a feed waits for the core");
                    let next = self.generation.wait_for(|now| *now > generation);
                    let _ = tokio::time::timeout(RESTART_PAUSE, next).await;
                }
            }
        }
        let publisher = self.core.publisher.lock();
        let from = self.ways.iter().map(|way| way.seen).min().unwrap_or(publisher.sent);
        for (position, message) in publisher.recent.after(from) {
            let way = self.ways.iter().find(|way| way.filter.matches(&message.topic));
            if way.is_some_and(|way| *position > way.seen) {
                self.missed.push_back((*position, message.clone()));
            }
        }
        // Only what the old router had not given out when it died can be missing; the tail tells how far it was.
        if publisher.recent.forgotten() > publisher.unsure_from {
            metrics::counter!("broker_core_lost_total").increment(1);
            error!("so much was published while the core was replaced that messages may be lost");
        }
        for way in &mut self.ways {
            // What comes over the new link from before this is among the missed.
            way.seen = publisher.sent;
            way.next_offset = None;
        }
    }
}

impl Way {
    /// Notices when the router's log rolled on under this feed. Publishers are held back so that it does not.
    fn look_for_loss(&mut self, offset: Option<u64>) {
        let Some(offset) = offset else { return };
        let lost = self.next_offset.map_or(0, |expected| offset.saturating_sub(expected));
        self.next_offset = Some(offset + 1);
        if lost > 0 {
            metrics::counter!("broker_core_lost_total").increment(lost);
            error!(filter = self.filter.as_str(), lost, "a feed fell behind the core");
        }
    }
}

async fn subscribed<'a>(core: &Core, filters: impl Iterator<Item = &'a Filter>) -> Result<Link, CoreError> {
    let mut link = core.router().link().await?;
    link.subscribe(filters.map(Filter::as_str)).await?;
    Ok(link)
}
