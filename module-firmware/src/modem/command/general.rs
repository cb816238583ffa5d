//! Commands that modems of all families know (ITU-T V.250, 3GPP TS 27.007).

use super::{Nothing, fields, ok, write_parts};
use crate::modem::family::{Domain, Family};
use atat::{
    AtatCmd, AtatResp, CmeError, Error, InternalError,
    atat_derive::{AtatCmd, AtatResp},
    heapless::String,
};

/// Asks whether anybody is there.
#[derive(AtatCmd)]
#[at_cmd("", Nothing, timeout_ms = 1000, parse = ok)]
pub struct At;

/// Turns the echo of commands off.
#[derive(AtatCmd)]
#[at_cmd("E0", Nothing, timeout_ms = 2000, parse = ok)]
pub struct EchoOff;

/// Has errors told by their number.
#[derive(AtatCmd)]
#[at_cmd("+CMEE=1", Nothing, timeout_ms = 2000, parse = ok)]
pub struct NumberErrors;

/// Asks for the model.
#[derive(AtatCmd)]
#[at_cmd("+CGMM", Model, timeout_ms = 3000, parse = model)]
pub struct AskModel;

/// Asks for maker, model and revision.
#[derive(AtatCmd)]
#[at_cmd("I", Model, timeout_ms = 3000, parse = model)]
pub struct AskIdentity;

/// The family that a model belongs to.
pub struct Model(pub &'static Family);

impl AtatResp for Model {}

fn model(line: &[u8]) -> Result<Model, Error> {
    Family::of_model(line).map(Model).ok_or(Error::Parse)
}

/// Asks for the state of the SIM.
#[derive(AtatCmd)]
#[at_cmd("+CPIN?", SimState, timeout_ms = 5000, parse = sim_state)]
pub struct AskSim;

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

impl AtatResp for SimState {}

#[derive(AtatResp)]
struct PinAnswer {
    state: String<24>,
}

fn sim_state(line: &[u8]) -> Result<SimState, Error> {
    let answer: PinAnswer = fields(b"+CPIN:", line)?;
    Ok(match answer.state.as_str() {
        "READY" => SimState::Ready,
        "NOT READY" => SimState::NotReady,
        "NOT INSERTED" => SimState::Absent,
        _ => SimState::Locked,
    })
}

impl SimState {
    /// What an error means that was the answer; `None` if it says nothing of the SIM.
    pub fn of_error(error: &Error) -> Option<Self> {
        match error {
            Error::CmeError(CmeError::SimNotInserted) => Some(Self::Absent),
            Error::CmeError(CmeError::SimPin | CmeError::SimPuk | CmeError::PhSimPin) => Some(Self::Locked),
            Error::CmeError(_) => Some(Self::NotReady),
            _ => None,
        }
    }
}

/// Asks for the signal.
#[derive(AtatCmd)]
#[at_cmd("+CSQ", Signal, timeout_ms = 2000, parse = signal)]
pub struct AskSignal;

/// The signal.
#[derive(Debug, Clone, Copy, AtatResp)]
pub struct Signal {
    /// 0 to 31; 99 if not known.
    pub csq: u8,
    /// Bit error class.
    pub _errors: Option<u8>,
}

fn signal(line: &[u8]) -> Result<Signal, Error> {
    fields(b"+CSQ:", line)
}

/// Asks whether the modem is registered in a domain.
pub struct AskRegistration(pub Domain);

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

impl AtatResp for Registration {}

#[derive(AtatResp)]
struct RegistrationAnswer {
    _unsolicited: u8,
    state: u8,
    // Location area, cell and technology may follow: they are not looked at.
    _area: Option<String<12>>,
    _cell: Option<String<12>>,
    _technology: Option<u8>,
}

impl AtatCmd for AskRegistration {
    type Response = Registration;
    const MAX_TIMEOUT_MS: u32 = 5000;

    fn write(&self, buffer: &mut [u8]) -> usize {
        write_parts(&[b"AT", self.0.name(), b"?\r"], buffer)
    }

    fn parse(&self, answer: Result<&[u8], InternalError>) -> Result<Registration, Error> {
        let answer: RegistrationAnswer = fields(self.0.name(), answer?)?;
        Ok(match answer.state {
            1 | 5 => Registration::Registered,
            3 => Registration::Denied,
            _ => Registration::Searching,
        })
    }
}

/// Asks for the number of the SIM card. What the command is called differs.
pub struct AskIccid(pub &'static [u8]);

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

    fn find(line: &[u8]) -> Option<Self> {
        let digits = line.split(|byte| !byte.is_ascii_alphanumeric()).find(|word| {
            (Self::MIN..=Self::MAX).contains(&word.len()) && word[..Self::MIN].iter().all(u8::is_ascii_digit)
        })?;
        let mut iccid = Self { digits: [0; Self::MAX], length: digits.len() };
        iccid.digits[..digits.len()].copy_from_slice(digits);
        Some(iccid)
    }
}

impl AtatResp for Iccid {}

impl AtatCmd for AskIccid {
    type Response = Iccid;
    const MAX_TIMEOUT_MS: u32 = 5000;

    fn write(&self, buffer: &mut [u8]) -> usize {
        write_parts(&[b"AT", self.0, b"\r"], buffer)
    }

    fn parse(&self, answer: Result<&[u8], InternalError>) -> Result<Iccid, Error> {
        Iccid::find(answer?).ok_or(Error::Parse)
    }
}
