//! A seed decides everything: the same one twice happens the same.
#![allow(clippy::unwrap_used)]

use simulation::{Options, run};

/// Seeds that are run twice.
const SEEDS: [u64; 3] = [1, 7, 19];

#[test]
fn a_seed_replays_exactly() {
    for seed in SEEDS {
        let options = Options { trace: true, ..Options::default() };
        let (first, second) = (run(seed, &options).unwrap(), run(seed, &options).unwrap());
        let apart = first.trace.iter().zip(&second.trace).position(|(one, other)| one != other);
        assert_eq!(apart.map(|line| (&first.trace[line], &second.trace[line])), None, "seed {seed}");
        assert_eq!((first.hash, first.sales), (second.hash, second.sales), "seed {seed}");
        // Keeping the lines changes nothing.
        assert_eq!(run(seed, &Options::default()).unwrap().hash, first.hash, "seed {seed}");
    }
}

#[test]
fn other_seeds_happen_differently() {
    let hashes: std::collections::BTreeSet<u64> =
        SEEDS.iter().map(|seed| run(*seed, &Options::default()).unwrap().hash).collect();
    assert_eq!(hashes.len(), SEEDS.len());
}
