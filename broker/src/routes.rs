//! Routes of messages: finds the recipients whose filters match a message's topic. The cost does not grow with filters
//! that do not match. The type of a recipient is up to the caller.

use std::collections::HashMap;
use std::str::Split;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::topic::Filter;

/// All routes to recipients `R`.
pub(crate) struct Routes<R> {
    tree: RwLock<Level<Entry<R>>>,
    last_number: AtomicU64,
}

struct Entry<R> {
    number: u64,
    recipient: R,
}

/// A route to a recipient; removed when dropped.
pub(crate) struct Route<R> {
    routes: Arc<Routes<R>>,
    filters: Vec<Filter>,
    number: u64,
}

impl<R> Default for Routes<R> {
    fn default() -> Self {
        Routes { tree: RwLock::default(), last_number: AtomicU64::new(0) }
    }
}

impl<R: Clone> Routes<R> {
    /// Routes messages within some filters, no two of which overlap, to a recipient.
    pub fn add_route(self: &Arc<Self>, filters: Vec<Filter>, recipient: &R) -> Route<R> {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed);
        let mut tree = self.tree.write();
        for filter in &filters {
            tree.add(filter, Entry { number, recipient: recipient.clone() });
        }
        Route { routes: self.clone(), filters, number }
    }

    /// The possible recipients of a message with this topic: each once for each of its routes.
    pub fn recipients(&self, topic: &str) -> Vec<R> {
        let mut recipients = Vec::new();
        self.tree.read().matching(topic.split('/'), &mut |entry| recipients.push(entry.recipient.clone()));
        recipients
    }
}

impl<R> Route<R> {
    /// Whether the route has these filters.
    pub fn has_filters(&self, filters: &[Filter]) -> bool {
        self.filters == filters
    }
}

impl<R> Drop for Route<R> {
    fn drop(&mut self) {
        let mut tree = self.routes.tree.write();
        for filter in &self.filters {
            tree.remove(filter.as_str().split('/'), &|entry| entry.number == self.number);
        }
    }
}

/// A level of filters, and the levels below.
struct Level<T> {
    /// By the next level's text, including `+`, which no topic contains.
    below: HashMap<Box<str>, Level<T>>,
    /// Recipients of the filters that end here.
    here: Vec<T>,
    /// Recipients of the filters that end in `#` after this level.
    all: Vec<T>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Level { below: HashMap::new(), here: Vec::new(), all: Vec::new() }
    }
}

impl<T> Level<T> {
    fn add(&mut self, filter: &Filter, item: T) {
        let mut level = self;
        for text in filter.as_str().split('/') {
            if text == "#" {
                level.all.push(item);
                return;
            }
            level = level.below.entry(text.into()).or_default();
        }
        level.here.push(item);
    }

    fn remove(&mut self, mut filter: Split<'_, char>, which: &impl Fn(&T) -> bool) {
        match filter.next() {
            None => self.here.retain(|item| !which(item)),
            Some("#") => self.all.retain(|item| !which(item)),
            Some(text) => {
                let Some(below) = self.below.get_mut(text) else { return };
                below.remove(filter, which);
                if below.is_empty() {
                    self.below.remove(text);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.here.is_empty() && self.all.is_empty()
    }

    /// Calls `found` for the recipients of all filters that match a topic. Topics that begin with `$`, which a wildcard
    /// at the first level does not match, are the broker's own and are published in another way.
    fn matching(&self, mut topic: Split<'_, char>, found: &mut impl FnMut(&T)) {
        self.all.iter().for_each(&mut *found);
        let Some(text) = topic.next() else {
            self.here.iter().for_each(found);
            return;
        };
        if let Some(below) = self.below.get(text) {
            below.matching(topic.clone(), found);
        }
        if let Some(below) = self.below.get("+") {
            below.matching(topic, found);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::topic::TopicBounds;
    use proptest::prelude::*;

    fn any_filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("+")];
        let shape = (proptest::collection::vec(level, 0..4), any::<bool>());
        shape.prop_filter_map("empty", |(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            Filter::parse(&levels.join("/"), TopicBounds { length: 64, levels: 8 }).ok()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// While routes are added and removed, exactly the routes are found whose filters match.
        #[test]
        fn what_is_found_is_what_matches(
            filters in proptest::collection::vec((any_filter(), any::<bool>()), 0..12),
            topics in proptest::collection::vec("[abz]?(/[abz]?){0,3}", 1..20),
        ) {
            let mut tree = Level::default();
            for (number, (filter, _)) in filters.iter().enumerate() {
                tree.add(filter, number);
            }
            for (number, (filter, _)) in filters.iter().enumerate().filter(|(_, (_, stays))| !stays) {
                tree.remove(filter.as_str().split('/'), &|known| *known == number);
            }
            for topic in topics.iter().filter(|topic| !topic.is_empty()) {
                let mut found = vec![];
                tree.matching(topic.split('/'), &mut |number: &usize| found.push(*number));
                found.sort_unstable();
                let matching = filters.iter().enumerate().filter(|(_, (filter, stays))| *stays && filter.matches(topic));
                prop_assert_eq!(found, matching.map(|(number, _)| number).collect::<Vec<_>>(), "{}", topic);
            }
            for (number, (filter, _)) in filters.iter().enumerate() {
                tree.remove(filter.as_str().split('/'), &|known| *known == number);
            }
            prop_assert!(tree.is_empty(), "what is gone is kept nowhere");
        }
    }
}
