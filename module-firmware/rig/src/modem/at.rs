//! Command lines as ITU-T V.250 and 3GPP TS 27.007 shape them. Shares no code with the module's driver.

/// A command line taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The name in upper case, `+` included; empty for a bare `AT`.
    pub name: String,
    /// What is asked of it.
    pub form: Form,
}

/// How a command is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `AT+X`
    Run,
    /// `AT+X?`
    Read,
    /// `AT+X=?`
    Test,
    /// `AT+X=..`
    Set(Vec<Value>),
}

/// A value of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Left out between commas.
    Absent,
    /// Digits.
    Number(u32),
    /// In quotes.
    Text(String),
}

impl Value {
    /// The number, if it is one.
    pub fn number(&self) -> Option<u32> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }
}

impl Form {
    /// The values of a set form; none for any other.
    pub fn values(&self) -> &[Value] {
        if let Form::Set(values) = self { values } else { &[] }
    }

    /// The numbers of a set form that holds nothing else.
    pub fn numbers(&self) -> Option<Vec<u32>> {
        if let Form::Set(values) = self { values.iter().map(Value::number).collect() } else { None }
    }
}

/// Takes a line apart, without its CR. `None` is what a modem answers with ERROR.
pub fn parse(line: &str) -> Option<Command> {
    let prefix = line.get(..2)?;
    if !prefix.eq_ignore_ascii_case("AT") {
        return None;
    }
    let rest = &line[2..];
    if !rest.starts_with('+') {
        // A basic command: letters, `&`, a digit.
        let known = rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '&');
        return known.then(|| Command { name: rest.to_ascii_uppercase(), form: Form::Run });
    }
    let end = rest.find(['=', '?']).unwrap_or(rest.len());
    let name = rest[..end].to_ascii_uppercase();
    let is_name = name.len() > 1 && name[1..].chars().all(|c| c.is_ascii_alphanumeric());
    let form = match &rest[end..] {
        "" => Form::Run,
        "?" => Form::Read,
        "=?" => Form::Test,
        set => Form::Set(values(set.strip_prefix('=')?)?),
    };
    is_name.then_some(Command { name, form })
}

fn values(text: &str) -> Option<Vec<Value>> {
    let mut values = vec![];
    let mut rest = text;
    loop {
        let (value, behind) = if let Some(quoted) = rest.strip_prefix('"') {
            let (text, behind) = quoted.split_once('"')?;
            (Value::Text(text.to_owned()), behind)
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let value = match &rest[..end] {
                "" => Value::Absent,
                digits => Value::Number(digits.parse().ok()?),
            };
            (value, &rest[end..])
        };
        values.push(value);
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None => return behind.is_empty().then_some(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_lines_apart() {
        let set = |name: &str, values: &[Value]| Some(Command { name: name.into(), form: Form::Set(values.to_vec()) });
        let plain = |name: &str, form| Some(Command { name: name.into(), form });
        assert_eq!(parse("AT"), plain("", Form::Run));
        assert_eq!(parse("ATE0"), plain("E0", Form::Run));
        assert_eq!(parse("at+csq"), plain("+CSQ", Form::Run));
        assert_eq!(parse("AT+CPIN?"), plain("+CPIN", Form::Read));
        assert_eq!(parse("AT+CPIN=?"), plain("+CPIN", Form::Test));
        let start = [Value::Text("TCP".into()), Value::Text("a,b".into()), Value::Number(1883)];
        assert_eq!(parse(r#"AT+CIPSTART="TCP","a,b",1883"#), set("+CIPSTART", &start));
        let gap = [Value::Number(1), Value::Absent, Value::Number(2)];
        assert_eq!(parse("AT+X=1,,2"), set("+X", &gap));
        for wrong in ["", "A", "TA+X", "AT+", "AT+X=\"a", "AT+X=\"a\"b", "AT+X=a", "AT+X=1?", "AT~", "AT+Y+X"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
