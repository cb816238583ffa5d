//! Parameters as they come and go, and the text of them that is signed.

use std::collections::BTreeMap;

/// Parameters by name; sorted, as the signature wants them.
pub(crate) type Parameters = BTreeMap<String, String>;

/// Reads a query or a form. `None`: it is malformed, or a name comes twice.
pub(crate) fn decoded(text: &str) -> Option<Parameters> {
    let mut parameters = Parameters::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        if parameters.insert(unescaped(name)?, unescaped(value)?).is_some() {
            return None;
        }
    }
    Some(parameters)
}

/// The parameters of a query and of a form together. A name may be in both, with the same value: SDKs repeat `charset` in
/// the address.
pub(crate) fn joined(query: &str, body: &str) -> Option<Parameters> {
    let mut parameters = decoded(query)?;
    for (name, value) in decoded(body)? {
        if parameters.get(&name).is_some_and(|known| *known != value) {
            return None;
        }
        parameters.insert(name, value);
    }
    Some(parameters)
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Parameters as a query or a form.
pub(crate) fn encoded(parameters: &Parameters) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'.' | b'_' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
        escaped
    })
}

/// What a merchant signs: all that has a value, but for the signature itself.
pub(crate) fn request_text(parameters: &Parameters) -> String {
    text(parameters, |name, value| name != "sign" && !value.is_empty())
}

/// What Alipay signs of a notice, and of the parameters of a return: the kind of signature is left out too, and empty
/// values are not.
pub(crate) fn notice_text(parameters: &Parameters) -> String {
    text(parameters, |name, _| name != "sign" && name != "sign_type")
}

fn text(parameters: &Parameters, is_signed: impl Fn(&str, &str) -> bool) -> String {
    let signed = parameters.iter().filter(|(name, value)| is_signed(name, value));
    signed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let parameters = decoded("a=1+%2B%25&b=&c=%E6%B4%97=x").unwrap();
        assert_eq!(parameters["a"], "1 +%");
        assert_eq!(parameters["c"], "洗=x");
        assert_eq!(decoded(&encoded(&parameters)).as_ref(), Some(&parameters));
        assert_eq!(request_text(&parameters), "a=1 +%&c=洗=x");
        assert_eq!(notice_text(&parameters), "a=1 +%&b=&c=洗=x");
        for malformed in ["a=1&a=1", "a", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(decoded(malformed), None, "{malformed}");
        }
        assert!(joined("charset=utf-8", "charset=utf-8&a=1").is_some());
        assert!(joined("charset=utf-8", "charset=gbk").is_none());
    }

    #[test]
    fn public_vectors_are_read_and_verify() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/alipay.json")).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let verify = |key: &serde_json::Value, message: &str, sign: &str| {
            let key = crate::crypto::Verifier::from_public_key_pem(key.as_str().unwrap()).unwrap();
            key.verify(message.as_bytes(), sign).unwrap();
        };
        let request = &vectors["request"];
        let page = decoded(&text(&request["wap_pay"]["get_url_query"])).unwrap();
        assert_eq!(request_text(&page), text(&request["wap_pay"]["message"]));
        verify(&request["public_key_pem"], &request_text(&page), &page["sign"]);
        for name in ["oauth_token", "certificate_mode"] {
            let call = &request[name];
            let sent = call["params"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value)));
            let message = request_text(&sent.collect());
            assert_eq!(message, text(&call["message"]));
            verify(&request["public_key_pem"], &message, call["sign_b64"].as_str().unwrap());
        }
        let alone = vec![vectors["notice"].clone()];
        let notices = &vectors["notices"];
        let all = [
            (&vectors["notice"]["public_key_pem"], &alone),
            (&notices["public_key_pem"], notices["cases"].as_array().unwrap()),
        ];
        for (key, cases) in all {
            for case in cases {
                let told = decoded(&text(&case["body"])).unwrap();
                assert_eq!(notice_text(&told), text(&case["message"]));
                verify(key, &notice_text(&told), &told["sign"]);
                assert_eq!(decoded(&encoded(&told)).as_ref(), Some(&told));
            }
        }
    }
}
