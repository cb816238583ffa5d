//! A tiny HTTP server in the provider's place: answers each request from a script, and hands the request on.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A request as it came over the socket.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What the server does with a request.
#[derive(Clone)]
pub enum Reply {
    /// Answers with these headers (beside length and close) and this body.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Closes the connection without a word.
    HangUp,
    /// Says nothing and keeps the connection open.
    Silence,
}

/// An answer signed by the platform, now.
pub fn signed(status: u16, body: &str) -> Reply {
    let headers = platform_headers(&keys().platform, PLATFORM_KEY_ID, NOW_S, body.as_bytes());
    Reply::Answer { status, headers, body: body.into() }
}

/// An answer without signature headers, as refusals may be.
pub fn plain(status: u16, body: &str) -> Reply {
    Reply::Answer { status, headers: Vec::new(), body: body.into() }
}

/// A refusal in the documented form.
pub fn refusal(status: u16, code: &str) -> Reply {
    plain(status, &format!(r#"{{"code":"{code}","message":"不行","detail":{{"location":"body"}}}}"#))
}

pub struct Server {
    pub url: String,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Server {
    /// Listens on a free port and gives every request the same reply.
    pub async fn start(reply: Reply) -> Self {
        Self::deciding(move |_, _| reply.clone()).await
    }

    /// Listens on a free port and decides by its own address and the request's target.
    pub async fn deciding(decide: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, received) = mpsc::unbounded_channel();
        let (decide, own) = (Arc::new(decide), url.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (decide, own) = (decide.clone(), own.clone());
                tokio::spawn(serve(socket, move |target| decide(&own, target), seen.clone()));
            }
        });
        Self { url, received }
    }

    /// The next request that came.
    pub async fn request(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }

    /// How many requests came that were not looked at yet.
    pub fn waiting(&self) -> usize {
        self.received.len()
    }
}

async fn serve(mut socket: TcpStream, decide: impl Fn(&str) -> Reply, seen: mpsc::UnboundedSender<Received>) {
    let Some(request) = read_request(&mut socket).await else { return };
    let reply = decide(&request.target);
    seen.send(request).unwrap();
    match reply {
        Reply::HangUp => {}
        Reply::Silence => {
            // Until the client gives up and closes.
            let _ = socket.read(&mut [0; 1]).await;
        }
        Reply::Answer { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} Any\r\nconnection: close\r\n");
            if status != 204 {
                head += &format!("content-length: {}\r\n", body.len());
            }
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            let _ = socket.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await;
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
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { method, target, headers, body })
}
