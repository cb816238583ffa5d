//! Modems that misbehave: whatever one says, once it behaves again there is a connection again, without a person.
#![allow(clippy::unwrap_used)]

#[path = "support/line.rs"]
mod line;
#[path = "support/scripted.rs"]
mod scripted;

use embassy_futures::select::{Either, select};
use embedded_hal::digital::PinState;
use embedded_io_async::{Read as _, Write as _};
use line::{Pin, config, dialogue_timeouts, drive};
use module_firmware::{
    link::Dial,
    modem::{self, Counters, Modem, ModemDial, Power, RX_BYTES, State, TX_BYTES, Timeouts},
};
use proptest::{collection::vec, prelude::*};
use scripted::{KINDS, Kind, Mangle, Scripted, echo, honest};
use std::time::{Duration, Instant};
use tokio::{task::LocalSet, time::timeout};

/// A modem that misbehaved is connected again within this: a power cycle and more, with the time-outs below.
const RECOVERY: Duration = Duration::from_secs(20);

/// Short, so that a modem that says nothing costs little.
fn short() -> Timeouts {
    Timeouts {
        answer_max_ms: 60,
        probe_ms: 1,
        boot_ms: Some(150),
        power_max_ms: 1,
        quiet_ms: 4,
        poll_ms: 5,
        registration_ms: 400,
        open_ms: 150,
        signal_ms: 200,
        data_poll_ms: 40,
        cycle_first_ms: 1,
        cycle_max_ms: 4,
    }
}

/// What a modem does, and what came of it.
struct Outcome {
    counters: Counters,
    keys: u32,
    /// Attempts to connect and have an echo, the last of which succeeded.
    attempts: u32,
}

/// Runs the driver against a modem that misbehaves until an echo comes back over it.
async fn until_connected(kind: Kind, mangle: Mangle, change: impl FnOnce(&mut Scripted)) -> Outcome {
    until_connected_within(short(), Duration::from_secs(2), kind, mangle, change).await
}

/// The same with a modem that is honest, so that what is counted is the driver's doing, on however busy a host.
async fn connected_to_an_honest_one(kind: Kind, change: impl FnOnce(&mut Scripted)) -> Outcome {
    until_connected_within(dialogue_timeouts(), RECOVERY, kind, honest(), change).await
}

async fn until_connected_within(
    timeouts: Timeouts,
    attempt_max: Duration,
    kind: Kind,
    mangle: Mangle,
    change: impl FnOnce(&mut Scripted),
) -> Outcome {
    let (uart, far) = line::line();
    let (modem, key) = (Modem::new(), Pin::default());
    let config = config(timeouts);
    let mut scripted = Scripted::new(kind, far, key.clone(), mangle, echo());
    change(&mut scripted);
    let living = tokio::task::spawn_local(scripted.live());
    let work = async {
        let mut dial = ModemDial::new(&modem);
        let sent: Vec<u8> = (0..600_u32).map(|n| (n * 7) as u8).collect();
        for attempt in 1.. {
            let echoed = timeout(attempt_max, async {
                let mut stream = dial.dial().await.ok()?;
                for part in sent.chunks(200) {
                    stream.write_all(part).await.ok()?;
                    stream.flush().await.ok()?;
                }
                let mut heard = vec![0; sent.len()];
                stream.read_exact(&mut heard).await.ok()?;
                (heard == sent).then_some(())
            });
            if let Ok(Some(())) = echoed.await {
                return Outcome { counters: modem.counters(), keys: key.0.get(), attempts: attempt };
            }
        }
        unreachable!()
    };
    let both = select(drive(&modem, &config, uart, key.clone()), timeout(RECOVERY, work));
    let outcome = match both.await {
        Either::Second(outcome) => outcome,
        Either::First(never) => match never {},
    };
    let shown = (modem.state(), modem.counters(), key.0.get());
    // It must not have been the modem of the test that gave up.
    assert!(!living.is_finished(), "{kind:?}: the scripted modem ended");
    living.abort();
    outcome.unwrap_or_else(|_| panic!("{kind:?} is not connected again: {shown:?}"))
}

/// Many at once: what they do is mostly wait.
async fn all<T>(cases: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut cases: Vec<_> = cases.into_iter().map(|case| (Box::pin(case), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (case, outcome) in &mut cases {
            if outcome.is_none() {
                match case.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *outcome = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    cases.into_iter().map(|(_, outcome)| outcome.unwrap()).collect()
}

/// Does something to one answer, and is honest otherwise.
fn once(nth: usize, change: impl Fn(Vec<u8>) -> Vec<(Duration, Vec<u8>)> + 'static) -> Mangle {
    Box::new(move |at, answer| if at == nth { change(answer) } else { vec![(Duration::ZERO, answer)] })
}

/// Answers of a modem up to the echo, and some more.
const ANSWERS: usize = 40;

#[tokio::test]
async fn a_good_one_is_connected_at_once() {
    LocalSet::new()
        .run_until(async {
            for kind in KINDS {
                let outcome = connected_to_an_honest_one(kind, |_| {}).await;
                assert_eq!((outcome.attempts, outcome.keys), (1, 0), "{kind:?}");
                assert_eq!(outcome.counters, Counters::default(), "{kind:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn one_that_is_off_is_switched_on() {
    LocalSet::new()
        .run_until(async {
            for kind in KINDS {
                let outcome = connected_to_an_honest_one(kind, |modem| modem.on_at_first = false).await;
                assert_eq!((outcome.keys, outcome.counters.restarts), (1, 0), "{kind:?}");
            }
        })
        .await;
}

/// From any command up to the connection on it says nothing more, until it is switched off and on.
#[tokio::test]
async fn a_silent_one_is_switched_off_and_on() {
    let cases = KINDS.into_iter().flat_map(|kind| (0..13).map(move |after| (kind, after)));
    let cases = cases.map(|(kind, after)| async move {
        let outcome = until_connected(kind, honest(), |modem| modem.hangs_after = Some(after)).await;
        // Silent from the first: it is taken for one that is off, and so it takes the key once more.
        assert!(outcome.keys >= 2 && outcome.keys.is_multiple_of(2), "{kind:?} after {after}: {} keys", outcome.keys);
        assert!(after == 0 || outcome.counters.restarts > 0, "{kind:?} after {after}");
    });
    LocalSet::new().run_until(all(cases)).await;
}

/// Where a reset is wired, a modem that is stuck is reset, and its PWRKEY let be.
#[tokio::test]
async fn a_silent_one_is_reset_where_that_is_wired() {
    let (uart, mut far) = line::line();
    let (modem, key, reset) = (Modem::new(), Pin::default(), Pin::default());
    let config = config(short());
    let power = Power::with_reset(key.clone(), PinState::High, reset.clone(), PinState::High);
    let talk = async {
        let mut told = vec![];
        for _ in 0..3 {
            while told.last() != Some(&b'\r') {
                told.push(tokio::io::AsyncReadExt::read_u8(&mut far).await.unwrap());
            }
            told.clear();
            tokio::io::AsyncWriteExt::write_all(&mut far, b"\r\nOK\r\n").await.unwrap();
        }
        // Silence; what it is told is taken in.
        let mut told = [0; 64];
        while reset.0.get() == 0 {
            tokio::io::AsyncReadExt::read(&mut far, &mut told).await.unwrap();
        }
    };
    tokio::select! {
        _ = modem::run(&modem, &config, uart, power, 1) => unreachable!(),
        done = timeout(RECOVERY, talk) => done.expect("a reset"),
    }
    assert_eq!((key.0.get(), modem.counters().restarts, modem.health().modem_restarts), (0, 1, 1));
    assert_eq!(modem.take_health().map(|health| health.modem_restarts), Some(1));
    assert_eq!(modem.take_health(), None);
}

#[tokio::test]
async fn answers_may_be_missing() {
    let cases = KINDS.into_iter().flat_map(|kind| (0..ANSWERS).map(move |nth| (kind, nth)));
    LocalSet::new().run_until(all(cases.map(|(kind, nth)| until_connected(kind, once(nth, |_| vec![]), |_| {})))).await;
}

#[tokio::test]
async fn answers_may_be_late() {
    let cases = KINDS.into_iter().flat_map(|kind| (0..ANSWERS).map(move |nth| (kind, nth)));
    let cases = cases.flat_map(|(kind, nth)| [(kind, nth, 65), (kind, nth, 90), (kind, nth, 200)]);
    let cases = cases.map(|(kind, nth, late_ms)| {
        until_connected(kind, once(nth, move |answer| vec![(Duration::from_millis(late_ms), answer)]), |_| {})
    });
    LocalSet::new().run_until(all(cases)).await;
}

#[tokio::test]
async fn answers_may_come_twice() {
    let cases = KINDS.into_iter().flat_map(|kind| (0..ANSWERS).map(move |nth| (kind, nth)));
    let cases = cases.flat_map(|(kind, nth)| [(kind, nth, 0), (kind, nth, 3), (kind, nth, 50)]);
    let cases = cases.map(|(kind, nth, pause_ms)| {
        let twice =
            move |answer: Vec<u8>| vec![(Duration::ZERO, answer.clone()), (Duration::from_millis(pause_ms), answer)];
        until_connected(kind, once(nth, twice), |_| {})
    });
    LocalSet::new().run_until(all(cases)).await;
    // All of them, for a while.
    let cases = KINDS.into_iter().map(|kind| {
        let mangle = Box::new(|at, answer: Vec<u8>| {
            if at < 60 {
                vec![(Duration::ZERO, [answer.clone(), answer].concat())]
            } else {
                vec![(Duration::ZERO, answer)]
            }
        });
        until_connected(kind, mangle, |_| {})
    });
    LocalSet::new().run_until(all(cases)).await;
}

#[tokio::test]
async fn answers_may_be_cut_short() {
    let cases = KINDS.into_iter().flat_map(|kind| (0..ANSWERS).map(move |nth| (kind, nth)));
    let cases = cases.flat_map(|(kind, nth)| [(kind, nth, 1), (kind, nth, 3), (kind, nth, 7), (kind, nth, 30)]);
    let cases = cases.map(|(kind, nth, cut)| {
        let short = move |mut answer: Vec<u8>| {
            answer.truncate(answer.len().saturating_sub(cut));
            vec![(Duration::ZERO, answer)]
        };
        until_connected(kind, once(nth, short), |_| {})
    });
    LocalSet::new().run_until(all(cases)).await;
}

/// Lengths that are told wrong: more or less than there is, more than was asked for, more than a number holds.
#[tokio::test]
async fn lengths_may_be_wrong() {
    let lies: [fn(usize) -> String; 7] = [
        |count| (count + 1).to_string(),
        |count| (count.max(1) - 1).to_string(),
        |count| (count + 4).to_string(),
        |_| "1460".into(),
        |_| "65535".into(),
        |_| "4294967295".into(),
        |_| "-1".into(),
    ];
    let cases = KINDS.into_iter().flat_map(|kind| lies.into_iter().map(move |lie| (kind, lie)));
    let cases = cases.map(|(kind, lie)| {
        let mut lied = 0;
        let mangle = Box::new(move |_, answer: Vec<u8>| {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let name = ["\r\n+CIPRXGET: 2,0,", "\r\n+CIPRXGET: 2,", "\r\n+QIRD: "];
            if let Some(name) = name.into_iter().find(|name| text.starts_with(name))
                && lied < 2
            {
                lied += 1;
                let digits = text[name.len()..].bytes().take_while(u8::is_ascii_digit).count();
                let count: usize = text[name.len()..name.len() + digits].parse().unwrap();
                let rest = &answer[name.len() + digits..];
                return vec![(Duration::ZERO, [name.as_bytes(), lie(count).as_bytes(), rest].concat())];
            }
            vec![(Duration::ZERO, answer)]
        });
        until_connected(kind, mangle, |_| {})
    });
    LocalSet::new().run_until(all(cases)).await;
}

/// Lines without end, at any time.
#[tokio::test]
async fn lines_may_be_endless() {
    let cases = KINDS.into_iter().flat_map(|kind| (0..18).map(move |nth| (kind, nth)));
    let cases = cases.map(|(kind, nth)| async move {
        let endless = |answer: Vec<u8>| vec![(Duration::ZERO, [vec![b'x'; 5000], answer].concat())];
        until_connected(kind, once(nth, endless), |_| {}).await
    });
    let outcomes = LocalSet::new().run_until(all(cases)).await;
    assert!(outcomes.iter().all(|outcome| outcome.counters.garbage_bytes >= 5000));
}

/// Says a piece before its nth answer.
fn noisy(noise: Vec<(usize, Vec<u8>)>) -> Mangle {
    Box::new(move |at, answer| {
        let mut said: Vec<_> =
            noise.iter().filter(|(nth, _)| *nth == at).map(|(_, noise)| (Duration::ZERO, noise.clone())).collect();
        said.push((Duration::ZERO, answer));
        said
    })
}

/// What there is to say: bytes, words that mean something, and both run together.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "\r\nOK\r\n",
        "\r\nERROR\r\n",
        "\r\n+CME ERROR: 99999\r\n",
        "\r\n> ",
        "\r\nCLOSED\r\n",
        "\r\nCONNECT OK\r\n",
        "\r\nSEND OK\r\n",
        "\r\nRDY\r\n",
        "\r\n+CPIN: NOT READY\r\n",
        "\r\nNORMAL POWER DOWN\r\n",
        "\r\n+CIPRXGET: 1\r\n",
        "\r\n+CIPRXGET: 2,512,0\r\n",
        "\r\n+CIPRXGET: 2,0,300,7\r\n",
        "\r\n+CIPRXGET: 2,,\r\n",
        "\r\n+QIRD: 40\r\n",
        "\r\n+QIRD: 99999999999\r\n",
        "\r\n+QIURC: \"recv\",0\r\n",
        "\r\n+QIURC: \"closed\",0\r\n",
        "\r\n+QIURC: \"pdpdeact\",1\r\n",
        "\r\n+QIURC: \"\r\n",
        "\r\n+QIURC: \\\"\\\"\\\"\r\n",
        "\r\n+IPCLOSE: 0,1\r\n",
        "\r\n+CIPEVENT: NETWORK CLOSED UNEXPECTEDLY\r\n",
        "\r\n+CIPSEND: 0,200,-1\r\n",
        "\r\n+CIPOPEN: 0,0\r\n",
        "\r\n+QIOPEN: 0,566\r\n",
        "\r\n+NETOPEN: 0\r\n",
        "\r\n+CSQ: 256,-1\r\n",
        "\r\n+CREG: 1,2,\"\",\"\",\r\n",
        "\r\n+CEREG: 0,1\r\n",
        "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
        "\r\nSIMCOM_SIM800L\r\n",
        "\r\nEC200U\r\n",
        ":::,,,+++",
    ]);
    let piece = prop_oneof![vec(any::<u8>(), 0..60), word.prop_map(|word| word.as_bytes().to_vec())];
    vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Forty-eight modems a case, each saying whatever at some times. They wait more than they work.
    #[test]
    fn anything_may_be_said_at_any_time(
        cases in vec((0..3_usize, vec((0..ANSWERS, noise()), 1..6)), 48)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cases = cases.into_iter().map(|(kind, noise)| until_connected(KINDS[kind], noisy(noise), |_| {}));
        LocalSet::new().block_on(&runtime, all(cases));
    }
}

/// A modem that talks without end keeps nobody waiting, and is taken on when it stops.
#[tokio::test]
async fn a_chattering_modem_does_not_block_the_loop() {
    LocalSet::new()
        .run_until(async {
            let (uart, mut far) = line::line();
            let (modem, key) = (Modem::new(), Pin::default());
            let config = config(short());
            let talk = async {
                loop {
                    tokio::io::AsyncWriteExt::write_all(&mut far, b"blah\r\nOK\r\n+CIPRXGET: 1\r\n").await.unwrap();
                }
            };
            let others = async {
                let begun = Instant::now();
                let mut turns = 0_u32;
                while begun.elapsed() < Duration::from_millis(500) {
                    tokio::task::yield_now().await;
                    turns += 1;
                }
                turns
            };
            let turns = tokio::select! {
                _ = drive(&modem, &config, uart, key) => unreachable!(),
                () = talk => unreachable!(),
                turns = others => turns,
            };
            assert!(turns > 100, "{turns}");
            assert_ne!(modem.state(), State::Connected);
        })
        .await;
}

/// On a 32-bit processor it is less: this bounds it.
#[tokio::test]
async fn the_whole_driver_is_small() {
    let (uart, _far) = line::line();
    let (modem, key) = (Modem::new(), Pin::default());
    let config = config(short());
    let future = size_of_val(&drive(&modem, &config, uart, key));
    let shared = size_of::<Modem>();
    println!("actor {future} bytes, shared {shared} bytes, of which pipes {}", RX_BYTES + TX_BYTES);
    assert!(future + shared <= 5 * 1024, "{future} + {shared}");
}
