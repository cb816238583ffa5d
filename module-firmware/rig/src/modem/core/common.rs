//! Commands of 3GPP TS 27.007 and V.250 that all three families have.

use super::{Bearer, Core, Event, Reply};
use crate::modem::{
    Family,
    at::{Command, Form},
    plan::Registration,
};

impl Core {
    /// Commands of 3GPP TS 27.007 and V.250 that all three have.
    pub(super) fn common(&mut self, command: &Command) -> Option<Reply> {
        let registration = match (self.registered, self.plan.registration) {
            (true, _) => 1,
            (false, Registration::Denied) => 3,
            (false, _) => 2,
        };
        Some(match (command.name.as_str(), &command.form) {
            ("", Form::Run) | ("Z" | "&F" | "&W" | "V1" | "&D0" | "&D1", Form::Run) => Reply::ok(),
            ("E0" | "E1" | "E", Form::Run) => {
                self.echo = command.name == "E1";
                Reply::ok()
            }
            ("I", Form::Run) => Reply::info(self.family.model()),
            ("+GMM" | "+CGMM", Form::Run) => Reply::info(self.family.model()),
            ("+CGMI" | "+GMI", Form::Run) => Reply::info(self.family.maker()),
            ("+CGSN" | "+GSN", Form::Run) => Reply::info("867000012345678"),
            ("+CMEE", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0] => self.set_error_codes(false),
                [1 | 2] => self.set_error_codes(true),
                _ => self.error(50),
            },
            ("+IPR" | "+IFC" | "+ICF" | "+CSCLK" | "+QSCLK", Form::Set(_)) => {
                command.form.numbers()?;
                Reply::ok()
            }
            ("+IPR", Form::Read) => Reply::info("+IPR: 115200"),
            ("+CFUN", Form::Read) => Reply::info("+CFUN: 1"),
            ("+CFUN", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [1, 1] => {
                    self.later(200, Event::Restart);
                    Reply::ok()
                }
                [0 | 1 | 4, ..] => Reply::ok(),
                _ => self.error(50),
            },
            ("+CPIN", Form::Read) => Reply::info("+CPIN: READY"),
            ("+CSQ", Form::Run) => Reply::info(&format!("+CSQ: {},99", self.plan.signal_csq)),
            ("+CREG" | "+CGREG", Form::Read) => Reply::info(&format!("{}: 0,{registration}", command.name)),
            // 2G has no EPS.
            ("+CEREG", Form::Read) if self.family != Family::Sim800 => {
                Reply::info(&format!("+CEREG: 0,{registration}"))
            }
            ("+CREG" | "+CGREG", Form::Set(_)) => Reply::ok(),
            ("+CEREG", Form::Set(_)) if self.family != Family::Sim800 => Reply::ok(),
            ("+CGATT", Form::Read) => Reply::info(&format!("+CGATT: {}", u8::from(self.registered))),
            ("+CGATT", Form::Set(_)) => {
                if self.registered {
                    Reply::ok().after(50)
                } else {
                    self.error(30)
                }
            }
            ("+COPS", Form::Read) if self.registered => Reply::info("+COPS: 0,0,\"RIG MOBILE\""),
            ("+COPS", Form::Read) => Reply::info("+COPS: 0"),
            ("+CCLK", Form::Read) => Reply::info("+CCLK: \"04/01/01,00:00:12+00\""),
            ("+CGDCONT", Form::Set(values)) => match (values.first()?.number()?, values.get(1)?.text()?) {
                (1, "IP" | "IPV4V6" | "IPV6") => {
                    if self.family == Family::A7670 && self.bearer == Bearer::Down {
                        self.bearer = Bearer::Named;
                    }
                    Reply::ok()
                }
                _ => self.error(50),
            },
            _ => return None,
        })
    }

    pub(super) fn set_error_codes(&mut self, on: bool) -> Reply {
        self.error_codes = on;
        Reply::ok()
    }
}
