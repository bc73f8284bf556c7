//! Real servers, claims, a relay that loses answers, and what the servers
//! answer to anybody.

pub(crate) mod relay;
pub(crate) mod server;

use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tandem::clock::Seed;
use tandem::dns::register::{Register as _, RegisterError};
use tandem::dns::rfc2136::{Algorithm, Rfc2136, Rfc2136Settings, TsigKey};
use tandem::types::{Claim, Name, Registered, Secret, Term};

use server::{KEY, SECRET, Server, ZONE};

/// Long enough for anything that should happen at all on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The public name.
pub(crate) const PUBLIC: &str = "lb.example.test";

pub(crate) fn settings(server: &Server) -> Rfc2136Settings {
    let mut settings = Rfc2136Settings::new(server.address, ZONE, PUBLIC);
    settings.key = Some(TsigKey {
        name: KEY.to_owned(),
        algorithm: Algorithm::HmacSha256,
        secret: Secret::new(SECRET),
    });
    // A busy machine may stall a server for seconds.
    settings.timeout = Duration::from_secs(10);
    settings
}

pub(crate) fn register(settings: &Rfc2136Settings) -> Rfc2136 {
    Rfc2136::new(settings).expect("the settings are right")
}

pub(crate) fn node(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|it| it.parse().unwrap()).collect()
}

/// A new claim of `holder` over what is there.
pub(crate) fn claim(over: Option<&Registered>, holder: &str) -> Registered {
    Registered {
        claim: Claim {
            term: over.map_or(Term::NONE, |it| it.claim.term).next(),
            holder: node(holder),
            nonce: Seed::random().0,
        },
        beat: 0,
    }
}

pub(crate) fn beat(of: &Registered) -> Registered {
    Registered {
        claim: of.claim.clone(),
        beat: of.beat + 1,
    }
}

/// What the register says, asked until the server answers.
pub(crate) async fn read_soon(register: &Rfc2136) -> Option<Registered> {
    let start = Instant::now();
    loop {
        match register.read().await {
            Ok(read) => return read,
            Err(error) if start.elapsed() > SOON => panic!("no read: {error}"),
            Err(RegisterError::TimedOut | RegisterError::Unreachable(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("no read: {error}"),
        }
    }
}

/// Says a measured figure on standard error, where a report can pick it up.
pub(crate) fn figure(name: &str, value: impl Display) {
    eprintln!("figure: {name} = {value}");
}

/// The value below which `percent` of the sorted `times` are.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
