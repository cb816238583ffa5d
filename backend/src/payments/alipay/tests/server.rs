//! A tiny HTTP server in the gateway's place: answers each call from a script, and hands it on.

use super::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A call as it came over the socket.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// The call's parameters, its signature checked as the gateway does.
    pub fn parameters(&self) -> BTreeMap<String, String> {
        let parameters: BTreeMap<String, String> = url::form_urlencoded::parse(&self.body).into_owned().collect();
        check_signature(&parameters);
        parameters
    }

    /// The call's business content.
    pub fn content(&self, method: &str) -> serde_json::Value {
        let parameters = self.parameters();
        assert_eq!(parameters["method"], method);
        serde_json::from_str(&parameters["biz_content"]).unwrap()
    }
}

/// Checks a call's signature as the gateway does, and what all calls say.
pub fn check_signature(parameters: &BTreeMap<String, String>) {
    let signed: Vec<String> =
        parameters.iter().filter(|(name, _)| *name != "sign").map(|(name, value)| format!("{name}={value}")).collect();
    let key = signing::PublicKey::from_text(&public_pem(&keys().app)).unwrap();
    assert!(key.verify(signed.join("&").as_bytes(), &parameters["sign"]), "the signature is not of what was sent");
    assert!(parameters.values().all(|value| !value.is_empty()), "{parameters:?}");
    let said = ["app_id", "format", "charset", "sign_type", "timestamp", "version"].map(|name| &*parameters[name]);
    assert_eq!(said, [APP_ID, "JSON", "utf-8", "RSA2", "2026-11-23 12:00:00", "1.0"]);
}

/// What the server does with a call.
#[derive(Clone)]
pub enum Reply {
    Answer {
        status: u16,
        headers: String,
        body: Vec<u8>,
    },
    /// Closes the connection without a word.
    HangUp,
    /// Says nothing and keeps the connection open.
    Silence,
}

/// An answer as it stands.
pub fn plain(status: u16, body: &str) -> Reply {
    Reply::Answer { status, headers: String::new(), body: body.into() }
}

/// An answer to a method, signed by a key.
pub fn signed_by(key: &KeyPair, node: &str, content: &str) -> Reply {
    let sign = serde_json::to_string(&sign(key, content.as_bytes())).unwrap().replace('/', "\\/");
    plain(200, &format!("{{\"{node}\":{content},\"sign\":{sign}}}"))
}

/// An answer to a method (the last part of its name is enough), signed by Alipay.
pub fn signed(method: &str, content: &serde_json::Value) -> Reply {
    signed_by(&keys().alipay, &format!("alipay_{}_response", method.replace('.', "_")), &content.to_string())
}

/// A signed refusal of a method.
pub fn refusal(method: &str, code: &str, sub_code: &str) -> Reply {
    let content = serde_json::json!({"code": code, "msg": "Failed", "sub_code": sub_code, "sub_msg": "不行"});
    signed(method, &content)
}

pub struct Server {
    pub url: String,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Server {
    /// Listens on a free port and gives every call the same reply.
    pub async fn start(reply: Reply) -> Self {
        Self::replying([reply]).await
    }

    /// Listens on a free port and gives these replies, the last one again and again.
    pub async fn replying(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, received) = mpsc::unbounded_channel();
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, replies.clone(), seen.clone()));
            }
        });
        Self { url, received }
    }

    /// The next call that came.
    pub async fn request(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }

    /// How many calls came that were not looked at yet.
    pub fn waiting(&self) -> usize {
        self.received.len()
    }
}

async fn serve(mut socket: TcpStream, replies: Arc<Mutex<VecDeque<Reply>>>, seen: mpsc::UnboundedSender<Received>) {
    let Some(request) = read_request(&mut socket).await else { return };
    let reply = {
        let mut replies = replies.lock().unwrap();
        if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() }
    };
    seen.send(request).unwrap();
    match reply {
        Reply::HangUp => {}
        Reply::Silence => {
            // Until the client gives up and closes.
            let _ = socket.read(&mut [0; 1]).await;
        }
        Reply::Answer { status, headers, body } => {
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} Any\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
            let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let length = head
        .split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { head, body })
}
