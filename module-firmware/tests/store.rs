//! The store against a model of it: whatever is written, in whatever order, over cuts of power and turns of pages, each key
//! has its newest value; a write that was cut left it or the one before. The store reads no more flash than it has to, and
//! this is what it must not forget for that.
#![allow(clippy::unwrap_used)]

mod support;

use embassy_futures::block_on;
use module_firmware::store::{Key, Store, VALUE_MAX_BYTES};
use protocol::limits::CREDIT_WINDOW;
use std::collections::BTreeMap;
use support::{Flash, PAGE, acceptor::Dice};

const RUNS: u64 = 60;
/// Boots of a run, each ended by a cut.
const BOOTS: u64 = 12;
const STATES: [Key; 8] =
    [Key::Boot, Key::Coins, Key::Settings, Key::Lock, Key::Reboot, Key::RemembersSince, Key::Learning, Key::Owner];

type Values = BTreeMap<usize, Vec<u8>>;

fn key(number: usize) -> Key {
    STATES.get(number).copied().unwrap_or_else(|| Key::Credit((number - STATES.len()) as u8))
}

fn read(store: &mut Store<Flash>, number: usize) -> Option<Vec<u8>> {
    let mut value = [0; VALUE_MAX_BYTES];
    let length = block_on(store.read(key(number), &mut value)).unwrap();
    length.map(|length| value[..length].to_vec())
}

fn agrees(store: &mut Store<Flash>, values: &Values) {
    for number in 0..STATES.len() + CREDIT_WINDOW {
        assert_eq!(read(store, number).as_ref(), values.get(&number), "{:?}", key(number));
    }
}

/// Mostly one key, as coins do it, and some keys hardly ever.
fn any_key(dice: &mut Dice) -> usize {
    match dice.within(0, 9) {
        0..=5 => 1,
        6..=8 => STATES.len() + dice.within(0, 9) as usize,
        _ => dice.within(0, (STATES.len() + CREDIT_WINDOW - 1) as u64) as usize,
    }
}

#[test]
fn each_key_has_its_newest_value_whatever_came_between() {
    let mut cuts = 0;
    for seed in 1..=RUNS {
        let mut dice = Dice(seed);
        let mut flash = Flash::blank(dice.within(4096 / PAGE as u64, 12) as usize);
        let mut values = Values::new();
        for _ in 0..BOOTS {
            flash.cut_after = Some(dice.within(1, 4_000));
            let mut store = Store::new(flash).unwrap();
            // Sometimes it is written to before anything is read.
            if dice.within(0, 3) > 0 && dice.within(0, 1) == 0 {
                agrees(&mut store, &values);
            }
            loop {
                let number = any_key(&mut dice);
                let value: Vec<u8> = (0..dice.within(1, 100)).map(|_| dice.next() as u8).collect();
                if block_on(store.write(key(number), &value)).is_err() {
                    let mut restarted = Store::new(store.into_flash().mend()).unwrap();
                    match read(&mut restarted, number) {
                        Some(now) if now == value => _ = values.insert(number, value),
                        before => assert_eq!(before.as_ref(), values.get(&number), "{:?}", key(number)),
                    }
                    agrees(&mut restarted, &values);
                    flash = restarted.into_flash();
                    cuts += 1;
                    break;
                }
                values.insert(number, value);
                if dice.within(0, 40) == 0 {
                    agrees(&mut store, &values);
                }
            }
        }
    }
    println!("{cuts} cuts");
    assert_eq!(cuts, RUNS * BOOTS);
}
