//! Topic names and filters: which are accepted, what matches, what contains what.
//!
//! The rules are those of MQTT 5 section 4.7, but stricter in three ways that keep the core safe: names and filters are
//! printable ASCII, are bounded in length and levels, and never start with `$`, except filters of `$SYS`, where the
//! gate publishes its statistics.

/// Why a topic name or a filter was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Empty, or a wildcard where none is allowed: violates the protocol itself.
    #[error("empty, or a wildcard where none is allowed")]
    Malformed,
    /// Valid MQTT, but outside what this broker accepts.
    #[error("only printable ASCII, within the length and level limits, not starting with '$' (filters of $SYS may)")]
    Unsupported,
}

/// Bounds of a topic name or filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopicBounds {
    /// Longest name or filter, in bytes.
    pub length: usize,
    /// Most levels.
    pub levels: usize,
}

/// The first level of the broker's own statistics.
const SYSTEM: &str = "$SYS";

/// The group and the filter of a shared subscription, `$share/GROUP/FILTER` (MQTT 5 section 4.8.2); `None` if it is not
/// one.
pub(crate) fn shared(text: &str) -> Option<Result<(&str, &str), TopicError>> {
    let rest = text.strip_prefix("$share/")?;
    let parts = rest.split_once('/').filter(|(group, _)| !group.is_empty() && !group.contains(['+', '#']));
    Some(parts.ok_or(TopicError::Malformed))
}

/// Checks a topic name of a publish or a will.
pub(crate) fn check_name(name: &str, bounds: TopicBounds) -> Result<(), TopicError> {
    if name.is_empty() || name.contains(['+', '#', '\0']) {
        return Err(TopicError::Malformed);
    }
    if name.starts_with('$') {
        return Err(TopicError::Unsupported);
    }
    check_shape(name, bounds)
}

fn check_shape(text: &str, bounds: TopicBounds) -> Result<(), TopicError> {
    let printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let levels = text.bytes().filter(|byte| *byte == b'/').count() + 1;
    if !printable || text.len() > bounds.length || levels > bounds.levels {
        return Err(TopicError::Unsupported);
    }
    Ok(())
}

/// A topic filter that passed the checks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Filter(Box<str>);

impl Filter {
    /// Checks a filter and stores it.
    pub fn parse(text: &str, bounds: TopicBounds) -> Result<Filter, TopicError> {
        if text.is_empty() || text.contains('\0') {
            return Err(TopicError::Malformed);
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let misplaced_hash = level.contains('#') && (level != "#" || levels.peek().is_some());
            if misplaced_hash || (level.contains('+') && level != "+") {
                return Err(TopicError::Malformed);
            }
        }
        if text.starts_with('$') && text.split('/').next() != Some(SYSTEM) {
            return Err(TopicError::Unsupported);
        }
        check_shape(text, bounds)?;
        Ok(Filter(text.into()))
    }

    /// Whether it matches the broker's own statistics, which no client publishes.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// A wildcard at the first level does not match topics that begin with `$` (MQTT 5 section 4.7.2).
    fn is_blind_to(&self, other: &str) -> bool {
        self.0.starts_with(['+', '#']) && other.starts_with('$')
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter names exactly one topic.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['+', '#'])
    }

    /// The beginning of every matching topic.
    pub fn literal_prefix(&self) -> &str {
        let Some(at) = self.0.find(['+', '#']) else { return &self.0 };
        let (prefix, rest) = self.0.split_at(at);
        // "x/#" also matches "x".
        if rest == "#" { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
    }

    /// Whether a topic name matches.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_blind_to(name) {
            return false;
        }
        let mut names = name.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every topic that matches `inner` matches this filter.
    pub fn contains(&self, inner: &Filter) -> bool {
        // A topic has at least one level, so "#" alone is the same as "+/#"; elsewhere "x/#" also matches "x".
        if &*inner.0 == "#" {
            return &*self.0 == "#" || &*self.0 == "+/#";
        }
        if self.is_blind_to(&inner.0) {
            return false;
        }
        let (mut outers, mut inners) = (self.0.split('/'), inner.0.split('/'));
        loop {
            match (outers.next(), inners.next()) {
                (Some("#"), _) | (None, None) => return true,
                (_, Some("#")) | (None, Some(_)) | (Some(_), None) => return false,
                (Some("+"), Some(_)) => {}
                (Some(outer), Some(inner)) if outer == inner => {}
                _ => return false,
            }
        }
    }

    /// Whether some topic matches both.
    pub fn overlaps(&self, other: &Filter) -> bool {
        if self.is_blind_to(&other.0) || other.is_blind_to(&self.0) {
            return false;
        }
        let (mut ours, mut theirs) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
                _ => return false,
            }
        }
    }

    /// The narrowest single filter that contains both.
    fn join(&self, other: &Filter) -> Filter {
        let (mut ours, mut theirs) = (self.0.split('/'), other.0.split('/'));
        let mut levels = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some("#"), _) | (_, Some("#")) | (None, Some(_)) | (Some(_), None) => {
                    levels.push("#");
                    break;
                }
                (Some(a), Some(b)) => levels.push(if a == b { a } else { "+" }),
            }
        }
        Filter(levels.join("/").into())
    }
}

/// Filters that together contain all of `filters` and do not overlap, so that each message comes once.
pub(crate) fn disjoint_cover(filters: &[&Filter]) -> Vec<Filter> {
    let mut cover: Vec<Filter> = Vec::with_capacity(filters.len());
    for filter in filters {
        let mut next = (*filter).clone();
        // Every merge takes one filter out of the cover, so this ends.
        while let Some(at) = cover.iter().position(|kept| kept.overlaps(&next)) {
            next = cover.swap_remove(at).join(&next);
        }
        cover.push(next);
    }
    cover
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: TopicBounds = TopicBounds { length: 64, levels: 8 };

    fn filter(text: &str) -> Filter {
        Filter::parse(text, BOUNDS).unwrap()
    }

    /// All topics of up to four levels over a small alphabet with an empty level and a stranger ("z" is in no filter). The
    /// empty name is among them: it is no topic, but treating it as one is simpler, and errs on the narrow side.
    fn topics() -> Vec<String> {
        let alphabet = ["a", "b", "", "z"];
        let mut all = Vec::new();
        let first = alphabet.iter().chain(&["$SYS"]);
        let mut longest: Vec<String> = first.map(|level| level.to_string()).collect();
        for _ in 0..4 {
            all.extend(longest.iter().cloned());
            longest =
                longest.iter().flat_map(|topic| alphabet.iter().map(move |level| format!("{topic}/{level}"))).collect();
        }
        all
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("+")];
        let shape = (proptest::collection::vec(level, 0..4), any::<bool>(), proptest::bool::weighted(0.2));
        shape.prop_filter_map("empty", |(mut levels, hash, system)| {
            if system {
                // One level fewer than the topics have: what tells `#` from less lies below.
                levels.truncate(2);
                levels.insert(0, "$SYS");
            }
            if hash {
                levels.push("#");
            }
            Filter::parse(&levels.join("/"), BOUNDS).ok()
        })
    }

    /// Matching written the slow way, by recursion on the definition.
    fn brute_matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) => true,
            (["#"], _) => true,
            ([f, frest @ ..], [t, trest @ ..]) => (*f == "+" || f == t) && brute_matches(frest, trest),
            _ => false,
        }
    }

    fn brute(filter: &Filter, topic: &str) -> bool {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let names: Vec<&str> = topic.split('/').collect();
        let blind = topic.starts_with('$') && ["+", "#"].contains(&levels[0]);
        !blind && brute_matches(&levels, &names)
    }

    #[test]
    fn names_and_filters_are_checked() {
        for good in ["a", "/", "a/b c/~", "m/0123456789/status"] {
            assert_eq!(check_name(good, BOUNDS), Ok(()), "{good}");
        }
        for bad in ["", "a/+", "#", "a\0"] {
            assert_eq!(check_name(bad, BOUNDS), Err(TopicError::Malformed), "{bad}");
        }
        for bad in ["é", "a/é", "$SYS/x", "a\u{7f}", "a\tb", "1/2/3/4/5/6/7/8/9"] {
            assert_eq!(check_name(bad, BOUNDS), Err(TopicError::Unsupported), "{bad}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a\0"] {
            assert_eq!(Filter::parse(bad, BOUNDS), Err(TopicError::Malformed), "{bad}");
        }
        for bad in ["$share/g/a", "$SYSTEM/#", "$/a", "é/#"] {
            assert_eq!(Filter::parse(bad, BOUNDS), Err(TopicError::Unsupported), "{bad}");
        }
        assert!(filter("$SYS/#").is_system() && !filter("#").is_system());
    }

    #[test]
    fn shared_subscriptions_name_a_group_and_a_filter() {
        assert_eq!(shared("a/b"), None);
        assert_eq!(shared("$share/g/a/+/b"), Some(Ok(("g", "a/+/b"))));
        assert_eq!(shared("$share/g//a"), Some(Ok(("g", "/a"))));
        for bad in ["$share/", "$share/g", "$share//a", "$share/+/a", "$share/g#/a"] {
            assert_eq!(shared(bad), Some(Err(TopicError::Malformed)), "{bad}");
        }
    }

    #[test]
    fn containment_is_not_mere_matching() {
        assert!(filter("m/+/command").contains(&filter("m/x/command")));
        assert!(!filter("m/x/+").contains(&filter("m/x/#")));
        assert!(!filter("m/x/command").contains(&filter("m/+/command")));
        assert!(filter("v1/op/#").contains(&filter("v1/op")));
        assert!(filter("v1/op/#").contains(&filter("v1/op/+/sale")));
        assert!(!filter("v1/op/#").contains(&filter("v1/+/x")));
        assert!(!filter("v1/op/#").contains(&filter("#")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn matching_agrees_with_the_definition(f in any_filter()) {
            for topic in topics() {
                prop_assert_eq!(f.matches(&topic), brute(&f, &topic), "{} {}", f.as_str(), topic);
                prop_assert!(!brute(&f, &topic) || topic.starts_with(f.literal_prefix()), "{} {}", f.as_str(), topic);
            }
        }

        #[test]
        fn containment_and_overlap_agree_with_all_topics(a in any_filter(), b in any_filter()) {
            let (mut contained, mut overlapping) = (true, false);
            for topic in topics() {
                contained &= !brute(&b, &topic) || brute(&a, &topic);
                overlapping |= brute(&a, &topic) && brute(&b, &topic);
            }
            prop_assert_eq!(a.contains(&b), contained, "{} contains {}", a.as_str(), b.as_str());
            prop_assert_eq!(a.overlaps(&b), overlapping, "{} overlaps {}", a.as_str(), b.as_str());
        }

        #[test]
        fn a_cover_contains_all_and_overlaps_nowhere(filters in proptest::collection::vec(any_filter(), 0..6)) {
            let cover = disjoint_cover(&filters.iter().collect::<Vec<_>>());
            for filter in &filters {
                prop_assert!(cover.iter().any(|wide| wide.contains(filter)));
            }
            for (at, one) in cover.iter().enumerate() {
                prop_assert!(cover[at + 1..].iter().all(|other| !one.overlaps(other)));
            }
        }
    }
}
