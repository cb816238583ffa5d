use super::*;
use poem::{Body, IntoResponse, endpoint::make};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
/// Short enough to happen in every test.
const SHORT: Duration = Duration::from_millis(100);
const PATIENT: Deadlines = Deadlines { head: LONG, idle: LONG, answer: LONG, stall: LONG };

/// An edge before a site: `/` is a word, `/long` an answer that no socket holds, `/never` none at all, `/body` none once the
/// request's body is there.
struct Running {
    at: SocketAddr,
    closing: CancellationToken,
    served: tokio::task::JoinHandle<io::Result<()>>,
    /// Requests that get no answer.
    unanswered: Arc<AtomicUsize>,
}

async fn start(connections: usize, per_address: usize, deadlines: Deadlines, proxies: TrustedProxies) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let closing = CancellationToken::new();
    let unanswered = Arc::new(AtomicUsize::new(0));
    let counted = unanswered.clone();
    let site = make(move |mut request: Request| {
        let counted = counted.clone();
        async move {
            match request.uri().path() {
                "/long" => {
                    let piece = bytes::Bytes::from(vec![b'x'; 1 << 16]);
                    let pieces = futures_util::stream::repeat_with(move || Ok::<_, io::Error>(piece.clone()));
                    Body::from_bytes_stream(pieces).into_response()
                }
                "/body" => {
                    let _ = request.take_body().into_bytes().await;
                    counted.fetch_add(1, Ordering::SeqCst);
                    std::future::pending().await
                }
                "/never" => {
                    counted.fetch_add(1, Ordering::SeqCst);
                    std::future::pending().await
                }
                _ => "word".into_response(),
            }
        }
    });
    let bounds = Bounds { connections, connections_per_address: per_address, deadlines };
    let served = tokio::spawn(serve(listener, site, bounds, proxies, closing.clone()));
    Running { at, closing, served, unanswered }
}

async fn open(running: &Running, said: &str) -> TcpStream {
    let mut socket = TcpStream::connect(running.at).await.unwrap();
    socket.write_all(said.as_bytes()).await.unwrap();
    socket
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// What comes until the server closes the connection.
async fn all(mut socket: TcpStream) -> String {
    let mut bytes = vec![];
    // A reset is an end too.
    let _ = socket.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the word was answered.
async fn until_answered(socket: &mut TcpStream) {
    let mut seen = String::new();
    while !seen.contains("word") {
        let mut buffer = [0; 1024];
        let length = socket.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "closed: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_dripping_or_not() {
    let running = start(10, 10, Deadlines { head: SHORT, ..PATIENT }, TrustedProxies::none()).await;
    for said in ["", "GET / HTTP/1.1\r\nHost: a\r\nX: "] {
        assert_eq!(all(open(&running, said).await).await, "", "{said:?}");
    }
    let (mut reading, mut writing) = open(&running, "GET / HTTP/1.1\r\nX: ").await.into_split();
    let drip = async {
        while writing.write_all(b"y").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    let mut bytes = vec![];
    tokio::select! {
        _ = reading.read_to_end(&mut bytes) => {}
        () = drip => {}
    }
    assert_eq!(bytes, b"");
}

#[tokio::test]
async fn what_is_not_http_1_is_closed() {
    let running = start(10, 10, PATIENT, TrustedProxies::none()).await;
    all(open(&running, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await).await;
    let refused = all(open(&running, &format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(100_000))).await).await;
    assert!(refused.starts_with("HTTP/1.1 431") || refused.is_empty(), "{refused}");
}

#[tokio::test]
async fn who_asks_nothing_more_is_cut_and_may_take_longer_than_for_a_head() {
    let deadlines = Deadlines { idle: SHORT, ..PATIENT };
    let running = start(10, 10, deadlines, TrustedProxies::none()).await;
    let mut socket = open(&running, &get("/")).await;
    until_answered(&mut socket).await;
    assert_eq!(all(socket).await, "");
}

#[tokio::test]
async fn an_answer_has_its_time_and_so_has_a_body() {
    let running = start(10, 10, Deadlines { answer: SHORT, ..PATIENT }, TrustedProxies::none()).await;
    assert_eq!(all(open(&running, &get("/never")).await).await, "");
    assert_eq!(all(open(&running, "POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await).await, "");
}

#[tokio::test]
async fn who_does_not_read_is_cut() {
    let running = start(10, 10, Deadlines { stall: SHORT, ..PATIENT }, TrustedProxies::none()).await;
    let mut socket = open(&running, &get("/long")).await;
    // The server writes as much as both ends hold, and no more; then it goes.
    loop {
        sleep(SHORT).await;
        if let Err(error) = socket.write_all(b"y").await {
            assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
            return;
        }
    }
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let running = start(20, 4, PATIENT, TrustedProxies::none()).await;
    let mut silent = vec![];
    for _ in 0..12 {
        silent.push(open(&running, "GET / HTTP/1.1\r\nX: ").await);
        let mut person = open(&running, &get("/")).await;
        until_answered(&mut person).await;
    }
    assert_eq!(all(silent.remove(0)).await, "", "whoever waited longest gave way");
}

#[tokio::test]
async fn one_address_has_its_connections_and_a_trusted_proxy_as_many_as_there_are() {
    let running = start(8, 4, PATIENT, TrustedProxies::none()).await;
    let _busy = busy(&running, 4).await;
    let refused = all(open(&running, "").await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("try again"), "{refused}");

    let proxies = TrustedProxies::these(&["127.0.0.1".into()], crate::ProxyHeader::Either).unwrap();
    let running = start(8, 4, PATIENT, proxies).await;
    let _busy = busy(&running, 7).await;
    until_answered(&mut open(&running, &get("/")).await).await;
}

/// So many connections, each with a request that is being answered.
async fn busy(running: &Running, count: usize) -> Vec<TcpStream> {
    let mut sockets = vec![];
    while sockets.len() < count {
        sockets.push(open(running, &get("/never")).await);
        while running.unanswered.load(Ordering::SeqCst) < sockets.len() {
            sleep(Duration::from_millis(1)).await;
        }
    }
    sockets
}

#[tokio::test]
async fn at_the_end_nothing_new_is_taken_and_what_does_not_end_is_cut() {
    let running = start(10, 10, PATIENT, TrustedProxies::none()).await;
    let mut idle = open(&running, &get("/")).await;
    until_answered(&mut idle).await;
    let never = open(&running, &get("/never")).await;
    let mut other = open(&running, &get("/")).await;
    until_answered(&mut other).await;
    running.closing.cancel();
    assert_eq!(all(idle).await, "");
    assert_eq!(all(never).await, "");
    running.served.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.at).await.is_err());
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_no_place_and_one_that_came_does() {
    let running = start(2, 2, PATIENT, TrustedProxies::none()).await;
    let post = |body: &str| format!("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{body}");
    let whole = open(&running, &post("abcd")).await;
    while running.unanswered.load(Ordering::SeqCst) < 1 {
        sleep(SHORT / 10).await;
    }
    let half = open(&running, &post("ab")).await;
    // The only slot left is that of the connection that waits for the rest of its body.
    let mut asking = open(&running, &get("/")).await;
    until_answered(&mut asking).await;
    assert_eq!(all(half).await, "");
    // The next one takes the slot of the connection that was served; the whole request keeps its own.
    let mut next = open(&running, &get("/")).await;
    until_answered(&mut next).await;
    let mut rest = [0; 1];
    let waits = timeout(SHORT, {
        let mut whole = whole;
        async move { whole.read(&mut rest).await }
    })
    .await;
    assert!(waits.is_err(), "the whole request lost its place");
}
