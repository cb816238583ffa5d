//! The envelope of the gateway's answers. The signature covers the text of one member, as received:
//! `{"<method>_response": {..}, "sign": ".."}`.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The member that stands for the answer where the gateway itself refuses.
const ERROR_NODE: &str = "error_response";

/// An answer, not verified yet.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// What is signed, byte for byte.
    pub content: &'a str,
    /// Whether it is the gateway's own refusal, which may be unsigned.
    pub is_gateways: bool,
    /// The signature.
    pub sign: Option<String>,
    /// The number of the certificate that it was signed with, if certificates are used.
    pub certificate: Option<String>,
}

/// The name of the member that answers a method.
fn node(method: &str) -> String {
    format!("{}_response", method.replace('.', "_"))
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of the answer to a method. `None`: it is not such an answer.
    pub fn read(body: &'a str, method: &str) -> Option<Self> {
        let members: Members<'a> = serde_json::from_str(body).ok()?;
        let mut envelope = Self { content: "", is_gateways: false, sign: None, certificate: None };
        let node = node(method);
        for (name, value) in members.0 {
            if name == "sign" {
                envelope.sign = Some(serde_json::from_str(value.get()).ok()?);
            } else if name == "alipay_cert_sn" {
                envelope.certificate = Some(serde_json::from_str(value.get()).ok()?);
            } else if name == node || name == ERROR_NODE {
                // Only one of the two can be meant.
                if !envelope.content.is_empty() {
                    return None;
                }
                envelope.content = value.get();
                envelope.is_gateways = name == ERROR_NODE;
            }
        }
        (!envelope.content.is_empty()).then_some(envelope)
    }
}

/// The members of an object as they stand; none of them twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &'de RawValue)> = vec![];
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member comes twice"));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}
