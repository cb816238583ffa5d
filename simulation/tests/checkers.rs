//! The checkers can fail: for each fault built into the simulation on purpose, they say which promise is broken.
#![allow(clippy::unwrap_used)]

use simulation::{Manners, Mutation, Options, run};

/// Seeds in which a fault that is built in must show; the first that does ends the search.
const SEEDS: std::ops::Range<u64> = 0..20;

fn assert_caught(mutation: Mutation, words: &str) {
    assert_caught_in(None, mutation, &[words]);
}

/// It is caught, by one of the promises that it breaks.
fn assert_caught_in(manners: Option<Manners>, mutation: Mutation, words: &[&str]) {
    let options = Options { mutation: Some(mutation), manners, ..Options::default() };
    let violation = SEEDS.into_iter().find_map(|seed| run(seed, &options).unwrap().violation);
    let violation = violation.unwrap_or_else(|| panic!("{mutation:?} went unseen"));
    assert!(words.iter().any(|words| violation.contains(words)), "{mutation:?} was taken for: {violation}");
}

#[test]
fn a_credit_given_twice_is_seen() {
    assert_caught(Mutation::CreditsTwice, "was given 2 times");
}

#[test]
fn a_credit_told_and_not_given_is_seen() {
    assert_caught(Mutation::PulsesLost, "the machine got");
}

#[test]
fn a_coin_counted_twice_is_seen() {
    assert_caught(Mutation::CoinsTwice, "coins:");
}

#[test]
fn money_taken_and_not_recorded_is_seen() {
    for manners in [Manners::Wechat, Manners::Alipay] {
        assert_caught_in(
            Some(manners),
            Mutation::ForgetsPayments,
            &["the provider took", "was paid and belongs to no sale"],
        );
    }
}

#[test]
fn money_returned_twice_is_seen() {
    for manners in [Manners::Wechat, Manners::Alipay] {
        assert_caught_in(Some(manners), Mutation::RefundsTwice, &["returned of"]);
    }
}

#[test]
fn a_module_that_forgets_its_coins_is_seen() {
    assert_caught(Mutation::ForgetsJournal, "when power went");
}

/// The module's own guard: what a lost memory forgot may have been given, so it is refused.
#[test]
fn a_module_that_lost_its_memory_gives_no_credit_again() {
    let options = Options { mutation: Some(Mutation::ForgetsJournal), coins: 0, ..Options::default() };
    for seed in SEEDS {
        let violation = run(seed, &options).unwrap().violation.unwrap_or_default();
        assert!(!violation.contains("was given"), "seed {seed}: {violation}");
    }
}
