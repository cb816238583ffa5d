//! Dialogues after the makers' manuals (`module-firmware/tests/modem`), against the driver.
#![allow(clippy::unwrap_used)]

#[path = "support/line.rs"]
mod line;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read as _, Write as _};
use line::{Pin, WAIT_TIMEOUT, config, dialogue_timeouts, drive};
use module_firmware::{
    link::Dial,
    modem::{Modem, ModemDial, ModemStream},
};
use std::{fmt::Debug, fs, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

/// How the modem's words are cut on the line.
#[derive(Clone, Copy)]
enum Cut {
    /// Each as a whole.
    Whole,
    /// Into single bytes, with a pause in which the driver looks at each.
    Bytes,
    /// Once, after so many bytes of the dialogue.
    At(usize),
}

fn unquoted(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_else(|| panic!("{text}"));
    let mut bytes = vec![];
    let mut characters = inner.bytes();
    while let Some(byte) = characters.next() {
        bytes.push(if byte != b'\\' {
            byte
        } else {
            match characters.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [characters.next().unwrap(), characters.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            }
        });
    }
    bytes
}

/// Plays a dialogue.
struct Player<'a> {
    modem: &'a Modem,
    key: Pin,
    far: DuplexStream,
    cut: Cut,
    said: usize,
    dial: ModemDial<'a>,
    stream: Option<ModemStream<'a>>,
}

impl<'a> Player<'a> {
    async fn say(&mut self, bytes: &[u8]) {
        match self.cut {
            Cut::Whole => self.far.write_all(bytes).await.unwrap(),
            Cut::Bytes => {
                for byte in bytes {
                    self.far.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
            }
            Cut::At(place) => {
                let here = place.saturating_sub(self.said).min(bytes.len());
                self.far.write_all(&bytes[..here]).await.unwrap();
                if here > 0 && here < bytes.len() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                self.far.write_all(&bytes[here..]).await.unwrap();
            }
        }
        self.said += bytes.len();
    }

    async fn expect(&mut self, wanted: &[u8]) {
        let mut heard = vec![0; wanted.len()];
        let mut filled = 0;
        while filled < wanted.len() {
            let count = self.far.read(&mut heard[filled..]).await.unwrap();
            filled += count;
            let (heard, wanted) = (&heard[..filled], &wanted[..filled]);
            assert!(heard == wanted, "{:?}, not {:?}", show(heard), show(wanted));
        }
    }

    async fn shows<T: Debug>(&self, what: &str, wanted: &str, now: impl Fn(&Modem) -> T) {
        loop {
            let shown = format!("{:?}", now(self.modem));
            if shown.trim_matches('"') == wanted {
                return;
            }
            if timeout(Duration::from_millis(5), std::future::pending::<()>()).await.is_err() {
                LAST.with(|last| *last.borrow_mut() = format!("{what} is {shown}, not {wanted}"));
            }
        }
    }

    async fn step(&mut self, step: &str) {
        let (kind, rest) = step.split_once(' ').unwrap_or((step, ""));
        match kind {
            ">" => self.expect(format!("{rest}\r").as_bytes()).await,
            ">>" => self.expect(&unquoted(rest)).await,
            "<" => self.say(format!("\r\n{rest}\r\n").as_bytes()).await,
            "<<" => self.say(&unquoted(rest)).await,
            "=" => {
                let (what, wanted) = rest.split_once(' ').unwrap();
                match what {
                    "key" => self.shows(what, wanted, |_| self.key.0.get()).await,
                    "state" => self.shows(what, wanted, |modem| modem.state()).await,
                    "csq" => self.shows(what, wanted, |modem| modem.health().signal_csq.unwrap_or(99)).await,
                    "low" => self.shows(what, wanted, |modem| modem.health().supply_low).await,
                    "lost" => self.shows(what, wanted, |modem| modem.counters().links_lost).await,
                    "restarts" => self.shows(what, wanted, |modem| modem.counters().restarts).await,
                    "errors" => self.shows(what, wanted, |modem| modem.counters().errors).await,
                    "garbage" => self.shows(what, wanted, |modem| modem.counters().garbage_bytes).await,
                    "iccid" => {
                        let iccid =
                            |modem: &Modem| modem.iccid().map(|iccid| iccid.as_str().to_owned()).unwrap_or_default();
                        self.shows(what, wanted, iccid).await;
                    }
                    _ => panic!("{step}"),
                }
            }
            _ => panic!("{step}"),
        }
    }
}

thread_local! {
    static LAST: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// Steps of the application may wait for the modem's next words, so those are played meanwhile.
async fn play(steps: &[(usize, String)], cut: Cut) -> usize {
    let (uart, far) = line::line();
    let (modem, key) = (Modem::new(), Pin::default());
    let config = config(dialogue_timeouts());
    let mut player =
        Player { modem: &modem, key: key.clone(), far, cut, said: 0, dial: ModemDial::new(&modem), stream: None };
    let script = async {
        let mut steps = steps.iter().peekable();
        while let Some((number, step)) = steps.next() {
            let at = format!("line {number}: {step}");
            let done = timeout(WAIT_TIMEOUT, async {
                match step.strip_prefix("! ") {
                    None => player.step(step).await,
                    Some("dial") => {
                        // Until it is fulfilled or not, the dialogue goes on.
                        let mut dialler = ModemDial::new(&modem);
                        std::mem::swap(&mut dialler, &mut player.dial);
                        let dialling = dialler.dial();
                        let talk = async {
                            loop {
                                let (number, step) = steps.next().expect("dialled or refused");
                                if step == "! dialled" || step == "! refused" {
                                    return step == "! dialled";
                                }
                                let step = timeout(WAIT_TIMEOUT, player.step(step)).await;
                                step.unwrap_or_else(|_| panic!("line {number} takes too long"));
                            }
                        };
                        let (outcome, wanted) = tokio::join!(dialling, talk);
                        assert_eq!(outcome.is_ok(), wanted);
                        player.stream = outcome.ok();
                    }
                    Some("end") => {
                        let count = player.stream.as_mut().unwrap().read(&mut [0; 16]).await.unwrap();
                        assert_eq!(count, 0);
                    }
                    Some("drop") => player.stream = None,
                    Some(other) => {
                        let (what, text) = other.split_once(' ').unwrap();
                        let bytes = unquoted(text);
                        match what {
                            "write" => player.stream.as_mut().unwrap().write_all(&bytes).await.unwrap(),
                            "read" => {
                                let mut heard = vec![0; bytes.len()];
                                player.stream.as_mut().unwrap().read_exact(&mut heard).await.unwrap();
                                assert_eq!(show(&heard), show(&bytes));
                            }
                            _ => panic!("{other}"),
                        }
                    }
                }
            });
            if done.await.is_err() {
                panic!("{at}: takes too long; {}", LAST.with(|last| last.borrow().clone()));
            }
        }
        player.said
    };
    match select(drive(&modem, &config, uart, key), script).await {
        Either::Second(said) => said,
        Either::First(never) => match never {},
    }
}

fn dialogues() -> Vec<(String, Vec<(usize, String)>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/modem");
    let mut dialogues = vec![];
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("# Source"), "{}: names no source", path.display());
        let steps = text.lines().map(str::trim_end).enumerate();
        let steps = steps.filter(|(_, step)| !step.is_empty() && !step.starts_with('#'));
        let steps = steps.map(|(index, step)| (index + 1, step.to_owned())).collect();
        dialogues.push((path.file_stem().unwrap().to_string_lossy().into_owned(), steps));
    }
    dialogues.sort();
    dialogues
}

#[tokio::test]
async fn the_makers_dialogues_are_spoken() {
    let dialogues = dialogues();
    assert!(!dialogues.is_empty());
    for (name, steps) in dialogues {
        println!("{name}");
        play(&steps, Cut::Whole).await;
    }
}

#[tokio::test]
async fn dialogues_work_byte_by_byte() {
    for (name, steps) in dialogues() {
        println!("{name}");
        play(&steps, Cut::Bytes).await;
    }
}

/// As often as a dialogue has bytes, each time cut at another: the driver sees each word in two parts.
#[tokio::test]
async fn dialogues_work_with_a_pause_anywhere() {
    for (name, steps) in dialogues() {
        // The key's dialogues have seconds of silence in them: cut into bytes they are played above.
        if steps.iter().any(|(_, step)| step.starts_with("= key")) {
            continue;
        }
        let length = play(&steps, Cut::Whole).await;
        println!("{name}: {length} bytes");
        for chunk in (1..length).collect::<Vec<_>>().chunks(64) {
            all_of(chunk.iter().map(|place| play(&steps, Cut::At(*place)))).await;
        }
    }
}

/// Many at once in one task: what they wait for is mostly time.
async fn all_of(plays: impl Iterator<Item = impl Future<Output = usize>>) {
    let mut plays: Vec<_> = plays.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        plays.retain_mut(|play| play.as_mut().poll(context).is_pending());
        if plays.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
