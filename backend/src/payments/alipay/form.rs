//! Forms as the gateway takes and sends them: strict, because signatures are over what they say.

use std::collections::BTreeMap;

/// Parameters as a query string or a form: all but letters, digits and `-._~` encoded, blanks too.
pub fn encoded<'p>(parameters: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let pair = |(name, value): (&str, &str)| format!("{}={}", escaped(name), escaped(value));
    let pairs: Vec<String> = parameters.into_iter().map(pair).collect();
    pairs.join("&")
}

/// A text as part of an address.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a form says, decoded once. An error says what is wrong: a name that comes twice may mean one thing to who checks it
/// and another to who acts on it.
pub fn decoded(body: &[u8]) -> Result<BTreeMap<String, String>, &'static str> {
    let mut parameters = BTreeMap::new();
    for pair in body.split(|byte| *byte == b'&') {
        let at = pair.iter().position(|byte| *byte == b'=').ok_or("a part of the form has no equals sign")?;
        let (name, value) = (unescaped(&pair[..at])?, unescaped(&pair[at + 1..])?);
        if parameters.insert(name, value).is_some() {
            return Err("a name comes twice in the form");
        }
    }
    Ok(parameters)
}

fn unescaped(text: &[u8]) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = tail.get(..2).ok_or("the form is cut within an encoded byte")?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| "the form has an encoded byte that is none")?;
                bytes.push(byte[0]);
                rest = &tail[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| "the form is not UTF-8")
}
