//! What a name server says of a name, as any stub resolver would ask.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::clock::Seed;
use crate::types::Fqdn;

/// More than an answer with a few addresses.
const DATAGRAM: usize = 1500;

/// Why a server's answer is not known.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// It does not say.
    #[error("{0}")]
    Code(String),
    /// It cannot be asked.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The question cannot be written.
    #[error("{0}")]
    Unwritable(#[from] hickory_proto::ProtoError),
}

/// The addresses of `name`, A before AAAA, sorted, as `server` says within
/// `limit`. `kinds` says whether to ask for IPv4 and for IPv6.
pub async fn addresses(
    server: SocketAddr,
    name: &Fqdn,
    kinds: (bool, bool),
    limit: Duration,
) -> Result<Vec<IpAddr>, ObserveError> {
    let mut found = Vec::new();
    for (is_wanted, kind) in [(kinds.0, RecordType::A), (kinds.1, RecordType::AAAA)] {
        if is_wanted {
            let asked = timeout(limit, ask(server, name, kind)).await;
            found.extend(asked.unwrap_or(Err(ObserveError::TimedOut))?);
        }
    }
    found.sort();
    Ok(found)
}

async fn ask(
    server: SocketAddr,
    name: &Fqdn,
    kind: RecordType,
) -> Result<Vec<IpAddr>, ObserveError> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut absolute = Name::from_ascii(name.as_str())?;
    absolute.set_fqdn(true);
    let question = Query::query(absolute, kind);
    let mut message = Message::query();
    let [low, high, ..] = Seed::random().0.to_le_bytes();
    message.metadata.id = u16::from_le_bytes([low, high]);
    // Resolvers are asked, too.
    message.metadata.recursion_desired = true;
    message.add_query(question.clone());
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(&message.to_vec()?).await?;
    let mut buffer = [0; DATAGRAM];
    loop {
        let count = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(buffer.get(..count).unwrap_or_default()) else {
            continue;
        };
        let is_ours = answer.metadata.id == message.metadata.id
            && answer.metadata.message_type == hickory_proto::op::MessageType::Response
            && answer.queries.first() == Some(&question);
        if is_ours {
            return read(&answer);
        }
    }
}

fn read(answer: &Message) -> Result<Vec<IpAddr>, ObserveError> {
    let code = answer.metadata.response_code;
    if code != hickory_proto::op::ResponseCode::NoError {
        return Err(ObserveError::Code(code.to_string()));
    }
    let records = answer.answers.iter();
    Ok(records.filter_map(|it| it.data.ip_addr()).collect())
}
