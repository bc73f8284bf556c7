//! Ask for a page.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;

use crate::health::HttpProbe;
use crate::types::OwnFault;

use super::outcome::Stop;
use super::stream::{ANSWER_LIMIT, Stage, Stream, connect, contains};
use super::tls::Encryption;
use super::{Failure, FailureReason, Outcome, Target};

const USER_AGENT: &str = concat!("tandem-probe/", env!("CARGO_PKG_VERSION"));

/// An HTTP or HTTPS probe.
#[derive(Debug)]
pub(super) struct Http {
    settings: HttpProbe,
    tls: Option<Encryption>,
}

impl Http {
    pub(super) fn new(settings: HttpProbe) -> Self {
        let host = settings.request.host.as_ref();
        let tls = settings.tls.clone().map(|it| Encryption::new(it, host));
        Self { settings, tls }
    }

    pub(super) async fn run(&mut self, target: &Target, stage: &Stage) -> Result<Outcome, Stop> {
        let request = self.request(target)?;
        let stream = connect(target, stage).await?;
        let stream: Box<dyn Stream> = match &mut self.tls {
            Some(tls) => Box::new(tls.connect(stream, target).await?),
            None => Box::new(stream),
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| of_hyper(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await;
            self.judge(response.map_err(|error| of_hyper(&error))?)
                .await
        };
        // The connection only moves while it is polled, and its errors arrive
        // at the exchange too.
        let driver = async {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            outcome = exchange => outcome,
            outcome = driver => outcome,
        }
    }

    fn request(&self, target: &Target) -> Result<Request<Empty<Bytes>>, Stop> {
        let wanted = &self.settings.request;
        let host = match &wanted.host {
            Some(host) => host.to_string(),
            None => default_host(target, self.tls.is_some()),
        };
        Request::builder()
            .method(wanted.method)
            .uri(wanted.path.to_http())
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| Stop::ours(OwnFault::Internal, error))
    }

    async fn judge(&self, mut response: Response<Incoming>) -> Result<Outcome, Stop> {
        let status = response.status();
        if status == StatusCode::NOT_FOUND && self.settings.drain_on_404 {
            return Ok(Outcome::Drain);
        }
        let code = status.as_u16();
        let expected = |&(first, last): &(u16, u16)| (first..=last).contains(&code);
        if !self.settings.expect.iter().any(expected) {
            let detail = format_args!("answered {status}");
            return Err(Failure::new(FailureReason::BadStatus, detail).into());
        }
        let Some(text) = &self.settings.body else {
            return Ok(Outcome::Pass);
        };
        let mut body = Vec::new();
        while !contains(&body, text.as_bytes()) {
            let frame = if body.len() < ANSWER_LIMIT {
                response.frame().await
            } else {
                None
            };
            let Some(frame) = frame else {
                let detail = format_args!("the body lacks {text:?}");
                return Err(Failure::new(FailureReason::BadBody, detail).into());
            };
            if let Ok(data) = frame.map_err(|error| of_hyper(&error))?.into_data() {
                let room = ANSWER_LIMIT - body.len();
                body.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(Outcome::Pass)
    }
}

/// Host name or address, with the port if it is not the usual one.
fn default_host(target: &Target, tls: bool) -> String {
    let host = match target.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => target.host.clone(),
    };
    let usual = if tls { 443 } else { 80 };
    match target.address.tcp() {
        Some(address) if address.port() != usual => format!("{host}:{}", address.port()),
        Some(_) | None => host,
    }
}

fn of_hyper(error: &hyper::Error) -> Stop {
    let cause = error.source();
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return Stop::of_io("HTTP exchange", cause);
    }
    let reason = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        FailureReason::Closed
    } else {
        FailureReason::BadAnswer
    };
    Failure::new(reason, format_args!("HTTP exchange: {error}")).into()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::kit::{self, reason};
    use super::super::{FailureReason, Probe};
    use super::*;
    use crate::health::{HttpMethod, HttpPath, HttpRequest, ProbeKind, Tls};
    use crate::types::{Endpoint, ProxyVersion};

    fn settings() -> HttpProbe {
        HttpProbe {
            request: HttpRequest {
                method: HttpMethod::Get,
                path: HttpPath::parse("/healthz?a=b").unwrap(),
                host: None,
            },
            expect: vec![(200, 299), (301, 301)],
            body: None,
            drain_on_404: false,
            tls: None,
        }
    }

    /// Runs a probe against a server that gives `answer`; returns the request.
    async fn ask(settings: HttpProbe, answer: &'static str) -> (Outcome, String) {
        let (listener, mut target) = kit::listener().await;
        target.send_proxy = Some(ProxyVersion::V1);
        let mut probe = Probe::new(&kit::settings(ProbeKind::Http(settings)));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let outcome = probe.run(&target).await;
        (outcome, server.await.unwrap())
    }

    #[tokio::test]
    async fn the_request_is_complete_and_the_proxy_header_first() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (outcome, request) = ask(settings(), answer).await;
        assert_eq!(outcome, Outcome::Pass);
        let request = request.to_lowercase();
        let start = "proxy unknown\r\nget /healthz?a=b http/1.1\r\nhost: 127.0.0.1:";
        assert!(request.starts_with(start), "{request}");
        assert!(request.contains("\r\nuser-agent: tandem-probe/"));
        assert!(request.contains("\r\nconnection: close\r\n"));
    }

    #[tokio::test]
    async fn statuses_are_judged() {
        let (outcome, _) = ask(settings(), "HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n").await;
        assert_eq!(outcome, Outcome::Pass);
        let (outcome, _) = ask(settings(), "HTTP/1.1 503 No\r\n\r\n").await;
        assert_eq!(reason(&outcome), FailureReason::BadStatus);
        let (outcome, _) = ask(settings(), "HTTP/1.1 404 Gone\r\n\r\n").await;
        assert_eq!(reason(&outcome), FailureReason::BadStatus);
        let mut drains = settings();
        drains.drain_on_404 = true;
        let (outcome, _) = ask(drains, "HTTP/1.1 404 Gone\r\n\r\n").await;
        assert_eq!(outcome, Outcome::Drain);
    }

    #[tokio::test]
    async fn the_body_is_searched() {
        let mut wants = settings();
        wants.body = Some("all well".into());
        let (outcome, _) = ask(wants.clone(), "HTTP/1.1 200 OK\r\n\r\nso all well here").await;
        assert_eq!(outcome, Outcome::Pass);
        let (outcome, _) = ask(wants, "HTTP/1.1 200 OK\r\n\r\nnot well").await;
        assert_eq!(reason(&outcome), FailureReason::BadBody);
    }

    #[tokio::test]
    async fn nonsense_and_silence_are_told_apart() {
        let (outcome, _) = ask(settings(), "SSH-2.0-x\r\n\r\n").await;
        assert_eq!(reason(&outcome), FailureReason::BadAnswer);
        let (outcome, _) = ask(settings(), "").await;
        assert_eq!(reason(&outcome), FailureReason::Closed);
        let (listener, target) = kit::listener().await;
        let mut probe = Probe::new(&kit::settings(ProbeKind::Http(settings())));
        let outcome = probe.run(&target).await;
        assert_eq!(reason(&outcome), FailureReason::Timeout);
        drop(listener);
    }

    #[tokio::test]
    async fn plain_http_is_not_tls() {
        let (listener, target) = kit::listener().await;
        let mut https = settings();
        https.tls = Some(Tls::default());
        let mut probe = Probe::new(&kit::settings(ProbeKind::Http(https)));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            // Until the probe is gone.
            drop(stream.read_to_end(&mut Vec::new()).await);
        });
        let outcome = probe.run(&target).await;
        let words = "the server does not speak TLS at this port";
        let expected = Outcome::Fail(Failure::new(FailureReason::Tls, words));
        assert_eq!(outcome, expected);
        server.await.unwrap();
    }

    #[test]
    fn ipv6_has_brackets_in_the_host_header() {
        let mut target = kit::target("[2001:db8::1]:8080".parse().unwrap());
        assert_eq!(default_host(&target, false), "[2001:db8::1]:8080");
        target.address = Endpoint::Tcp("[2001:db8::1]:443".parse().unwrap());
        assert_eq!(default_host(&target, true), "[2001:db8::1]");
    }
}
