//! Commands that modems of all families know (ITU-T V.250, 3GPP TS 27.007).

use super::{Command, Expects, numbers, word};
use crate::modem::decimal::decimal;
use crate::modem::family::Domain;
use atat::{CmeError, Error};

/// Asks whether anybody is there.
pub const AT: Command<'_> = Command::order(b"", 1_000);

/// Turns the echo of commands off.
pub const ECHO_OFF: Command<'_> = Command::order(b"E0", 2_000);

/// Has errors told by their number.
pub const NUMBER_ERRORS: Command<'_> = Command::order(b"+CMEE=1", 2_000);

/// Asks for the model.
pub const ASK_MODEL: Command<'_> = Command::asking(b"+CGMM", 3_000, Expects::Model);

/// Asks for maker, model and revision.
pub const ASK_IDENTITY: Command<'_> = Command::asking(b"I", 3_000, Expects::Model);

/// Asks for the state of the SIM.
pub const ASK_SIM: Command<'_> = Command::asking(b"+CPIN?", 5_000, Expects::Sim);

/// Asks for the signal.
pub const ASK_SIGNAL: Command<'_> = Command::asking(b"+CSQ", 2_000, Expects::Signal);

/// Asks whether the modem is registered in a domain.
pub const fn ask_registration(domain: Domain) -> Command<'static> {
    Command::asking(domain.question(), 5_000, Expects::Registration(domain))
}

/// Asks for the number of the SIM card. What the command is called differs.
pub const fn ask_iccid(name: &[u8]) -> Command<'_> {
    Command::asking(name, 5_000, Expects::Iccid)
}

/// The state of the SIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimState {
    /// No code is asked for.
    Ready,
    /// A code is asked for: nobody here knows it.
    Locked,
    /// It is not ready yet, or any more.
    NotReady,
    /// There is none.
    Absent,
}

/// The longest state that there is, in bytes, and some.
const SIM_STATE_MAX_BYTES: usize = 24;

pub(super) fn sim_state(line: &[u8]) -> Option<SimState> {
    Some(match word(line.strip_prefix(b"+CPIN:")?) {
        b"READY" => SimState::Ready,
        b"NOT READY" => SimState::NotReady,
        b"NOT INSERTED" => SimState::Absent,
        state if state.is_empty() || state.len() > SIM_STATE_MAX_BYTES || !state.is_ascii() => return None,
        _ => SimState::Locked,
    })
}

impl SimState {
    /// What an error means that was the answer; `None` if it says nothing of the SIM.
    pub fn of_error(error: &Error) -> Option<Self> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "atat has many more")]
        match error {
            Error::CmeError(CmeError::SimNotInserted) => Some(Self::Absent),
            Error::CmeError(CmeError::SimPin | CmeError::SimPuk | CmeError::PhSimPin) => Some(Self::Locked),
            Error::CmeError(_) => Some(Self::NotReady),
            _ => None,
        }
    }
}

/// The signal; behind it may stand the class of bit errors.
pub(super) fn signal(line: &[u8]) -> Option<u8> {
    let [Some(csq), _, None, None] = numbers(line.strip_prefix(b"+CSQ:")?)? else { return None };
    u8::try_from(csq).ok()
}

/// Where a registration stands (3GPP TS 27.007, 7.2 and 10.1.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// At home, or roaming.
    Registered,
    /// Not, or still searching.
    Searching,
    /// The network does not want this SIM.
    Denied,
}

/// Whether it is told unasked, and the state. Location area, cell and technology may follow: they are not looked at.
pub(super) fn registration(domain: Domain, line: &[u8]) -> Option<Registration> {
    let name = domain.question().strip_suffix(b"?")?;
    let mut fields = line.strip_prefix(name)?.strip_prefix(b":")?.split(|byte| *byte == b',');
    decimal(fields.next()?)?;
    Some(match decimal(fields.next()?)? {
        1 | 5 => Registration::Registered,
        3 => Registration::Denied,
        _ => Registration::Searching,
    })
}

/// The number of a SIM card: 19 or 20 digits, some makers' last is a letter (ITU-T E.118).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iccid {
    digits: [u8; Self::MAX],
    length: usize,
}

impl Iccid {
    const MIN: usize = 18;
    const MAX: usize = 20;

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII was taken in.
        core::str::from_utf8(&self.digits[..self.length]).unwrap_or_default()
    }

    pub(super) fn find(line: &[u8]) -> Option<Self> {
        let digits = line.split(|byte| !byte.is_ascii_alphanumeric()).find(|word| {
            (Self::MIN..=Self::MAX).contains(&word.len()) && word[..Self::MIN].iter().all(u8::is_ascii_digit)
        })?;
        let mut iccid = Self { digits: [0; Self::MAX], length: digits.len() };
        iccid.digits[..digits.len()].copy_from_slice(digits);
        Some(iccid)
    }
}
