//! An own server for what real ones cannot be made to do: a process that
//! takes orders in the first line that a client sends.
//!
//! `GET ...` is answered as HTTP, with the server's name as the body;
//! `ECHO`, `SINK`, `SOURCE n seed`, `BOTH n seed`, `HOLD`, `RESET n` and
//! `STALL` are for the tests of the byte stream.

use std::env;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream as Stream};

use super::pattern::{Pattern, Sum};
use super::proc::Proc;
use super::{SOON, ports, wait_until};

/// The test that is no test but the process behind [`Backend`].
pub(crate) const HELPER: &str = "helper_backend";

/// A server process of our own.
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    proc: Option<Proc>,
}

impl Backend {
    /// Starts one on a free port and waits until it serves.
    pub(crate) fn start(name: &str) -> Self {
        let mut backend = Self::absent(name);
        backend.revive();
        backend
    }

    /// One that has an address but does not run.
    pub(crate) fn absent(name: &str) -> Self {
        Self::elsewhere(name, ports::free())
    }

    /// The name and address of a server that somebody else runs.
    pub(crate) fn elsewhere(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            proc: None,
        }
    }

    /// Several, named a, b, c...
    pub(crate) fn several(count: u8) -> Vec<Self> {
        let names = (b'a'..).take(usize::from(count)).map(char::from);
        names.map(|it| Self::start(&it.to_string())).collect()
    }

    /// Starts it again on the same address.
    pub(crate) fn revive(&mut self) {
        let mut command = Command::new(env::current_exe().expect("the tests' own file"));
        command
            .args(["--exact", HELPER, "--ignored", "--nocapture"])
            .env("RIG_NAME", &self.name)
            .env("RIG_ADDRESS", self.address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.proc = Some(Proc::spawn(&mut command, "nothing, it is this very file"));
        wait_until("an own backend serves", SOON, || {
            TcpStream::connect(self.address).is_ok()
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        drop(self.proc.take());
    }

    /// It goes on accepting (the kernel does) and never answers.
    pub(crate) fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// The end of [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    fn process(&self) -> &Proc {
        self.proc.as_ref().expect("the backend runs")
    }
}

/// Serves for ever: the body of the helper process.
pub(crate) fn serve_for_ever() {
    let (Ok(name), Ok(address)) = (env::var("RIG_NAME"), env::var("RIG_ADDRESS")) else {
        return;
    };
    raise_nofile();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(accept(&name, address.parse().expect("an address")));
}

/// Lets this process open as many files as the machine grants.
pub(crate) fn raise_nofile() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may grow to the hard one");
    limit.maximum.unwrap_or(1_000_000)
}

async fn accept(name: &str, address: SocketAddr) {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.set_nonblocking(true).expect("an option");
    socket.bind(&address.into()).expect("a free address");
    // One whose backlog is to be filled should not need thousands to do so.
    let backlog = if name == "full" { 4 } else { 4096 };
    socket.listen(backlog).expect("a bound socket");
    let listener = TcpListener::from_std(socket.into()).expect("a listener");
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let name = name.to_owned();
            tokio::spawn(async move {
                // A client that goes away early is part of many tests.
                let _ended = obey(stream, &name).await;
            });
        }
    }
}

async fn obey(stream: Stream, name: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut read = BufReader::with_capacity(16 * 1024, read);
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|it| it.parse().ok()).unwrap_or(0);
    match words.first().copied() {
        Some("ECHO") => echo(read, write).await,
        Some("SINK") => {
            let mut write = write;
            let sum = drink(&mut read).await?;
            write.write_all(sum.as_bytes()).await?;
            write.shutdown().await
        }
        Some("SOURCE") => {
            let mut write = write;
            pour(&mut write, number(2), number(1)).await?;
            write.shutdown().await?;
            drink(&mut read).await.map(drop)
        }
        Some("BOTH") => both(read, write, number(2), number(1)).await,
        Some("HOLD") => drink(&mut read).await.map(drop),
        Some("RESET") => {
            let mut write = write;
            pour(&mut write, 1, number(1)).await?;
            let whole = read.into_inner().reunite(write).expect("two halves of one");
            SockRef::from(&whole).set_linger(Some(Duration::ZERO))
        }
        Some("STALL") => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok(())
        }
        Some(_) => http(read, write, line, name).await,
        None => Ok(()),
    }
}

type Reader = BufReader<tokio::net::tcp::OwnedReadHalf>;

async fn echo(mut read: Reader, mut write: OwnedWriteHalf) -> std::io::Result<()> {
    tokio::io::copy_buf(&mut read, &mut write).await?;
    write.shutdown().await
}

async fn drink(read: &mut Reader) -> std::io::Result<String> {
    let mut sum = Sum::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = read.read(&mut chunk).await?;
        if count == 0 {
            return Ok(sum.finish());
        }
        sum.add(&chunk[..count]);
    }
}

async fn pour(write: &mut OwnedWriteHalf, seed: u64, count: u64) -> std::io::Result<()> {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; 64 * 1024];
    let mut left = usize::try_from(count).expect("64 bits");
    while left > 0 {
        let part = left.min(chunk.len());
        pattern.fill(&mut chunk[..part]);
        write.write_all(&chunk[..part]).await?;
        left -= part;
    }
    Ok(())
}

/// Sends its pattern and takes in the client's at the same time; says at the
/// end what it took in.
async fn both(
    mut read: Reader,
    mut write: OwnedWriteHalf,
    seed: u64,
    count: u64,
) -> std::io::Result<()> {
    let taken = tokio::spawn(async move { drink(&mut read).await });
    pour(&mut write, seed, count).await?;
    let sum = taken.await.expect("it does not panic")?;
    write.write_all(sum.as_bytes()).await?;
    write.shutdown().await
}

async fn http(
    mut read: Reader,
    mut write: OwnedWriteHalf,
    mut line: String,
    name: &str,
) -> std::io::Result<()> {
    loop {
        let path = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
        let mut is_last = false;
        loop {
            line.clear();
            if read.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            is_last |= line.to_ascii_lowercase().starts_with("connection: close");
            if line.trim().is_empty() {
                break;
            }
        }
        let big = path.strip_prefix("/big/").and_then(|it| it.parse().ok());
        let body = format!("{name} {path}\n");
        let length = big.unwrap_or(body.len() as u64);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        if let Some(count) = big {
            write.write_all(head.as_bytes()).await?;
            pour(&mut write, 1, count).await?;
        } else {
            write.write_all(format!("{head}{body}").as_bytes()).await?;
        }
        if is_last {
            return write.shutdown().await;
        }
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
}
