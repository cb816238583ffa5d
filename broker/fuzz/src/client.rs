//! A client that says whatever it is told to, and checks what the broker says: packets are whole and of a kind a server
//! sends, and no message reaches whom it must not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{Property, v3_1_1, v5_0};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::logins::{Logins, may_receive};

/// Longest wait for anything. The broker's own bounds are longer only where nothing here reaches them.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// A topic that only the witness may publish to.
pub(crate) const MARKER: &str = "marker";

/// One connection.
pub struct Client {
    stream: WriteHalf<DuplexStream>,
    heard: Arc<Heard>,
    reading: JoinHandle<()>,
    /// Only whole, undamaged packets were sent.
    is_whole: bool,
    pings: u64,
}

/// What came from the broker.
struct Heard {
    peer: SocketAddr,
    logins: Arc<Logins>,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    is_v5: Option<bool>,
    /// Acknowledgements due, as bytes.
    due: Vec<u8>,
    pongs: u64,
    is_over: bool,
    /// Topics whose last message was retained, as far as it was told.
    retained: BTreeSet<String>,
    /// The last payload on [`MARKER`].
    marker: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream, peer: SocketAddr, logins: Arc<Logins>) -> Client {
        let (from, to) = tokio::io::split(stream);
        let heard = Arc::new(Heard { peer, logins, state: Mutex::default(), news: Notify::new() });
        let reading = tokio::spawn(heard.clone().listen(from));
        Client { stream: to, heard, reading, is_whole: true, pings: 0 }
    }

    /// Whether the broker ended it.
    pub fn is_over(&self) -> bool {
        self.heard.state().is_over
    }

    /// Sends bytes, cut into pieces.
    pub async fn send(&mut self, bytes: &[u8], piece_bytes: usize, is_whole: bool) {
        self.is_whole &= is_whole;
        for piece in bytes.chunks(piece_bytes.max(1)) {
            let writing = tokio::time::timeout(WAIT_TIMEOUT, self.stream.write_all(piece)).await;
            if writing.expect("the broker neither reads nor closes").is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Acknowledges all that waits for it.
    pub async fn answer(&mut self) {
        let due = std::mem::take(&mut self.heard.state().due);
        self.send(&due, usize::MAX, true).await;
    }

    /// Waits until the broker has handled all that was sent, or ended the connection. After damage it cannot be asked.
    pub async fn sync(&mut self) {
        if !self.is_whole {
            return;
        }
        self.send(&[0xc0, 0], usize::MAX, true).await;
        self.pings += 1;
        let pings = self.pings;
        self.heard.until("PINGRESP", |state| state.is_over || state.pongs >= pings).await;
    }

    /// Closes, and waits until the broker has done so too.
    pub async fn close(mut self) {
        // An error says that the broker was first.
        let _ = self.stream.shutdown().await;
        tokio::time::timeout(WAIT_TIMEOUT, self.reading).await.expect("the broker never closed").expect("no panic");
    }

    /// Waits for a message with this payload on [`MARKER`].
    pub(crate) async fn marked(&self, payload: &[u8]) {
        self.heard.until("the witness's own message", |state| state.marker == payload).await;
    }

    /// Topics of retained messages seen.
    pub(crate) fn retained(&self) -> BTreeSet<String> {
        self.heard.state().retained.clone()
    }
}

impl Heard {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("a panic ends the process")
    }

    async fn until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let waiting = async {
            loop {
                let news = self.news.notified();
                if condition(&self.state()) {
                    return;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(WAIT_TIMEOUT, waiting).await;
        waited.unwrap_or_else(|_| panic!("never came: {what}"));
    }

    async fn listen(self: Arc<Self>, mut stream: ReadHalf<DuplexStream>) {
        let mut builder = PacketBuilder::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut cursor = Cursor::new(&buffer[..count]);
            while cursor.position() < count as u64 {
                match builder.feed(&mut cursor) {
                    PacketBuildResult::Complete(packet) => self.take(&mut self.state(), packet),
                    PacketBuildResult::Incomplete => {}
                    PacketBuildResult::Error(error) => panic!("the broker sent {error:?}"),
                }
            }
            self.news.notify_waiters();
        }
        self.state().is_over = true;
        self.news.notify_waiters();
    }

    fn take(&self, state: &mut State, packet: RawPacket) {
        assert!(!state.is_over, "a packet after DISCONNECT");
        let (kind, body) = (packet.packet_type(), packet.data_as_slice());
        let Some(is_v5) = state.is_v5 else {
            assert_eq!(kind, 2, "the first packet is CONNACK");
            // In 3.1.1 it ends here; in 5 there are properties, of no length at least.
            state.is_v5 = Some(body.len() > 2);
            if body.len() > 2 {
                let connack = v5_0::Connack::parse(body).expect("a good CONNACK").0;
                for property in &connack.props {
                    if let Property::AssignedClientIdentifier(id) = property {
                        self.logins.assigned(self.peer, id.val());
                    }
                }
            } else {
                v3_1_1::Connack::parse(body).expect("a good CONNACK");
            }
            return;
        };
        let id = || [body[0], body[1]];
        match kind {
            3 => self.take_publish(state, is_v5, packet),
            4 | 7 | 9 | 11 => assert!(body.len() >= 2, "an answer without an identifier"),
            5 => state.due.extend([&[0x62, 2][..], &id()].concat()),
            6 => state.due.extend([&[0x70, 2][..], &id()].concat()),
            13 => state.pongs += 1,
            14 => {
                assert!(is_v5, "no server of 3.1.1 sends DISCONNECT");
                v5_0::Disconnect::parse(body).expect("a good DISCONNECT");
                state.is_over = true;
            }
            kind => panic!("no server sends packets of type {kind}"),
        }
    }

    fn take_publish(&self, state: &mut State, is_v5: bool, packet: RawPacket) {
        let flags = packet.flags();
        let PacketData::Publish(data) = packet.data else { panic!("a publish without a payload") };
        let (topic, payload, id) = if is_v5 {
            let packet = v5_0::Publish::parse(flags, data).expect("a good PUBLISH").0;
            (packet.topic_name().to_owned(), packet.payload().as_slice().to_vec(), packet.packet_id())
        } else {
            let packet = v3_1_1::Publish::parse(flags, data).expect("a good PUBLISH").0;
            (packet.topic_name().to_owned(), packet.payload().as_slice().to_vec(), packet.packet_id())
        };
        let user = self.logins.let_in_from(self.peer).expect("messages come to who was let in").user;
        assert!(may_receive(&user, &topic), "{user} received a message on {topic:?}");
        let (qos, retain) = (flags >> 1 & 0b11, flags & 1 == 1);
        if let Some(id) = id {
            let kind = if qos == 1 { 0x40 } else { 0x50 };
            state.due.extend([&[kind, 2][..], &id.to_be_bytes()].concat());
        }
        if topic == MARKER {
            state.marker = payload;
        } else if retain && !payload.is_empty() {
            state.retained.insert(topic);
        } else if retain {
            state.retained.remove(&topic);
        }
    }
}
