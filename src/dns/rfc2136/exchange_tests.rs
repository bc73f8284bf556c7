use hickory_proto::op::{MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as Fqdn, RecordType};
use tokio::net::TcpListener;

use super::*;
use crate::clock;

fn message(kind: OpCode) -> Message {
    let mut message = Message::new(0, MessageType::Query, kind);
    let name = Fqdn::from_ascii("example.com.").unwrap();
    message.add_query(Query::query(name, RecordType::SOA));
    message
}

fn exchange(server: SocketAddr) -> Exchange {
    Exchange {
        server,
        key: None,
        tcp: false,
        timeout: Duration::from_millis(900),
        wall: clock::wall,
    }
}

/// The next question and who asks it.
async fn question(socket: &UdpSocket) -> (Message, SocketAddr) {
    let mut buffer = [0; DATAGRAM];
    let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
    (Message::from_vec(&buffer[..count]).unwrap(), from)
}

async fn answer(socket: &UdpSocket, change: impl Fn(&mut Message)) {
    let (question, from) = question(socket).await;
    let mut reply = question.into_response();
    reply.metadata.authoritative = true;
    change(&mut reply);
    let bytes = reply.to_vec().unwrap();
    socket.send_to(&bytes, from).await.unwrap();
}

/// A server's sockets at one port. Tests beside this one take ports, too, so
/// that one which is free over UDP may not be so over TCP.
async fn over_both() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(server.local_addr().unwrap()).await {
            return (server, listener);
        }
    }
    panic!("no port is free over both");
}

#[tokio::test]
async fn a_question_is_asked_again_with_another_number_or_port() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let exchange = exchange(server.local_addr().unwrap());
    let asked = message(OpCode::Query);
    let lossy = async {
        let first = question(&server).await;
        let second = question(&server).await;
        let tag = |it: &(Message, SocketAddr)| (it.0.metadata.id, it.1.port());
        assert_ne!(tag(&first), tag(&second));
        answer(&server, |_| {}).await;
    };
    let (result, ()) = tokio::join!(exchange.ask(&asked), lossy);
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn an_update_is_sent_once() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let exchange = exchange(server.local_addr().unwrap());
    let update = message(OpCode::Update);
    let long = Duration::from_secs(2);
    assert!(timeout(long, exchange.tell(&update)).await.is_err());
    let mut buffer = [0; DATAGRAM];
    server.try_recv(&mut buffer).unwrap();
    assert!(server.try_recv(&mut buffer).is_err(), "a second one");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp_and_a_truncated_verdict_is_not() {
    let (server, listener) = over_both().await;
    let exchange = Exchange {
        // No more than a hang is to be noticed here.
        timeout: Duration::from_secs(30),
        ..exchange(server.local_addr().unwrap())
    };
    let over_tcp = async {
        answer(&server, |reply| reply.metadata.truncation = true).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        let mut reply = Message::from_vec(&bytes).unwrap().into_response();
        reply.metadata.authoritative = true;
        let bytes = reply.to_vec().unwrap();
        let length = u16::try_from(bytes.len()).unwrap();
        stream.write_u16(length).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    };
    let asked = message(OpCode::Query);
    let (result, ()) = tokio::join!(exchange.ask(&asked), over_tcp);
    assert!(!result.unwrap().metadata.truncation);

    let update = message(OpCode::Update);
    let verdict = answer(&server, |reply| {
        reply.metadata.truncation = true;
        reply.metadata.response_code = ResponseCode::NXRRSet;
    });
    let (result, ()) = tokio::join!(exchange.tell(&update), verdict);
    let code = result.unwrap().metadata.response_code;
    assert_eq!(code, ResponseCode::NXRRSet);
}

#[tokio::test]
async fn an_answer_out_of_a_cache_is_refused() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let exchange = exchange(server.local_addr().unwrap());
    let asked = message(OpCode::Query);
    let cached = answer(&server, |reply| reply.metadata.authoritative = false);
    let (result, ()) = tokio::join!(exchange.ask(&asked), cached);
    assert_eq!(result.unwrap_err(), RegisterError::NotPrimary);
}

#[tokio::test]
async fn a_complaint_has_a_name() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let exchange = exchange(server.local_addr().unwrap());
    let update = message(OpCode::Update);
    for (code, error) in [
        (ResponseCode::FormErr, RegisterError::FormErr),
        (ResponseCode::ServFail, RegisterError::ServerFailed),
        (ResponseCode::NotImp, RegisterError::NotImplemented),
        (ResponseCode::Refused, RegisterError::Refused),
        (ResponseCode::NotAuth, RegisterError::NotAuth),
    ] {
        let complaint = answer(&server, |reply| reply.metadata.response_code = code);
        let (result, ()) = tokio::join!(exchange.tell(&update), complaint);
        assert_eq!(result.unwrap_err(), error);
    }
}
