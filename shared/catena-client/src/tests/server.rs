//! A small Catena that says what a test wants it to say, byte for byte.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What comes back.
pub(crate) enum Says {
    /// A whole answer; `headers` as lines, each with its end.
    Answer(u16, String, String),
    /// These bytes, then the end of the connection.
    Bytes(String),
    /// Nothing, for ever.
    Nothing,
}

pub(crate) fn says(status: u16, body: impl Into<String>) -> Says {
    Says::Answer(status, String::new(), body.into())
}

type Script = Box<dyn Fn(usize, &Seen) -> Says + Send + Sync>;

/// Answers token requests by one script and all others by the other; both get the number of such requests so far.
pub(crate) struct Catena {
    pub(crate) address: String,
    told: Arc<Told>,
}

struct Told {
    token: Script,
    api: Script,
    tokens_asked: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

impl Catena {
    pub(crate) async fn start(
        token: impl Fn(usize, &Seen) -> Says + Send + Sync + 'static,
        api: impl Fn(usize, &Seen) -> Says + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Told {
            token: Box::new(token),
            api: Box::new(api),
            tokens_asked: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let serving = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, told }
    }

    pub(crate) fn tokens_asked(&self) -> usize {
        self.told.tokens_asked.load(Ordering::SeqCst)
    }

    /// What the API was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.told.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, told: Arc<Told>) {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read(&mut stream).await {
        let says = if seen.target == "/token" {
            (told.token)(told.tokens_asked.fetch_add(1, Ordering::SeqCst), &seen)
        } else {
            let number = {
                let mut all = told.seen.lock().unwrap();
                all.push(seen.clone());
                all.len() - 1
            };
            (told.api)(number, &seen)
        };
        let bytes = match says {
            Says::Answer(status, headers, body) => format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                body.len()
            ),
            Says::Bytes(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Says::Nothing => std::future::pending().await,
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut seen = Seen::default();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    (seen.method, seen.target) = (words.next()?, words.next()?);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        seen.headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = seen
        .header("content-length")
        .map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}
