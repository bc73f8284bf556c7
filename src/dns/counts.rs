use std::sync::atomic::{AtomicU64, Ordering};

use hickory_server::proto::op::ResponseCode;

/// The response codes that we use; any other is counted as a failure of ours.
const CODES: [(ResponseCode, &str); 7] = [
    (ResponseCode::BADVERS, "badvers"),
    (ResponseCode::FormErr, "formerr"),
    (ResponseCode::NXDomain, "nxdomain"),
    (ResponseCode::NoError, "noerror"),
    (ResponseCode::NotImp, "notimp"),
    (ResponseCode::Refused, "refused"),
    (ResponseCode::ServFail, "servfail"),
];

/// Why a query got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Silence {
    /// Reading it made the parser panic.
    Fault,
    /// Everybody together asked too much.
    GlobalLimit,
    /// It was an answer, or shorter than a header.
    NoQuery,
    /// Its network asked too much.
    SourceLimit,
    /// It made place, as an idle TCP connection, for a new one.
    TcpLimit,
    /// Its network asked too much over UDP and was told to use TCP.
    ToldTcp,
    /// The answer could not be sent.
    Unsent,
}

impl Silence {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Fault, "fault"),
        (Self::GlobalLimit, "global_limit"),
        (Self::NoQuery, "no_query"),
        (Self::SourceLimit, "source_limit"),
        (Self::TcpLimit, "tcp_limit"),
        (Self::ToldTcp, "told_tcp"),
        (Self::Unsent, "unsent"),
    ];
    const LIMITS: [Self; 4] = [
        Self::GlobalLimit,
        Self::SourceLimit,
        Self::TcpLimit,
        Self::ToldTcp,
    ];
}

/// What the server has done since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Answers by response code.
    pub answers: Vec<(&'static str, u64)>,
    /// Queries that got no answer, by reason.
    pub unanswered: Vec<(&'static str, u64)>,
    /// TCP connections now.
    pub tcp_clients: u32,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    answers: [AtomicU64; CODES.len()],
    silences: [AtomicU64; Silence::ALL.len()],
}

impl Counters {
    pub(super) fn answered(&self, code: ResponseCode) {
        let at = CODES.iter().position(|(it, _)| *it == code);
        self.answers[at.unwrap_or(CODES.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn silent(&self, why: Silence) {
        self.silences[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Everything that a limit has turned away.
    pub(super) fn limited(&self) -> u64 {
        let counts = Silence::LIMITS.map(|it| self.silences[it as usize].load(Ordering::Relaxed));
        counts.iter().sum()
    }

    pub(super) fn read(&self, tcp_clients: u32) -> Counts {
        let load = |(count, word): (&AtomicU64, _)| (word, count.load(Ordering::Relaxed));
        let codes = CODES.map(|(_, word)| word);
        let silences = Silence::ALL.map(|(_, word)| word);
        Counts {
            answers: self.answers.iter().zip(codes).map(load).collect(),
            unanswered: self.silences.iter().zip(silences).map(load).collect(),
            tcp_clients,
        }
    }
}

impl Counts {
    /// The count that is called `word`; 0 if none is.
    pub fn of(&self, word: &str) -> u64 {
        let mut all = self.answers.iter().chain(&self.unanswered);
        all.find(|(it, _)| *it == word).map_or(0, |(_, n)| *n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_listed_in_the_order_of_their_numbers() {
        for (at, (silence, _)) in Silence::ALL.into_iter().enumerate() {
            assert_eq!(silence as usize, at);
        }
        let counters = Counters::default();
        counters.answered(ResponseCode::NXDomain);
        counters.answered(ResponseCode::BADCOOKIE);
        counters.silent(Silence::TcpLimit);
        let counts = counters.read(0);
        assert_eq!(counts.of("nxdomain"), 1);
        assert_eq!(counts.of("servfail"), 1);
        assert_eq!(counts.of("tcp_limit"), 1);
        assert_eq!(counters.limited(), 1);
    }
}
