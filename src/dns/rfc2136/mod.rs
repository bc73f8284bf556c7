//! The register on a DNS server with dynamic updates (RFC 2136): the register
//! is a TXT record beside the public name, and each write is one message
//! whose prerequisites are the comparison.
//!
//! A write whose answer was lost may still happen for as long as its signature
//! lives, which is five minutes; its prerequisites keep that harmless.
//!
//! What the server must grant the key, in bind9 and in knot:
//!
//! ```text
//! update-policy { grant tandem-key zonesub A AAAA TXT; };
//!
//! acl:
//!   - id: tandem
//!     key: tandem-key
//!     action: update
//! ```

mod exchange;
mod message;
mod reply;
mod settings;
mod tsig;

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::time::timeout;

pub use settings::{Algorithm, Rfc2136Settings, SettingsError, TsigKey};

use self::exchange::Exchange;
use self::message::{Found, Names};
use self::tsig::Key;
use super::register::{Forgotten, Pending, Register, RegisterError, WriteResult, is_newer};
use crate::clock;
use crate::types::{Name, Registered};

/// A register on a DNS server, and the public name beside it.
///
/// Reads go to the primary and are signed, too: what is not signed with our
/// key, not about our question, not from the server's address or not from
/// this time is not believed.
#[derive(Clone)]
pub struct Rfc2136 {
    names: Names,
    exchange: Exchange,
}

impl Rfc2136 {
    /// The register that `settings` describe.
    pub fn new(settings: &Rfc2136Settings) -> Result<Self, SettingsError> {
        Self::with_wall(settings, clock::wall)
    }

    /// The same with another time of day than the system's, since 1970.
    pub fn with_wall(
        settings: &Rfc2136Settings,
        wall: fn() -> Duration,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            names: Names::new(settings)?,
            exchange: Exchange {
                server: settings.server,
                key: settings.key.as_ref().map(Key::new).transpose()?,
                tcp: settings.tcp,
                timeout: settings.timeout,
                wall,
            },
        })
    }

    async fn try_read(&self) -> Result<Option<Registered>, RegisterError> {
        let answer = self.exchange.ask(&self.names.read()).await?;
        self.names.registered(&answer)
    }

    async fn try_write(
        &self,
        expect: Option<&Registered>,
        new: &Registered,
        addresses: &[IpAddr],
    ) -> Result<WriteResult, RegisterError> {
        if addresses.is_empty() {
            return Err(RegisterError::NoAddress);
        }
        if !is_newer(expect, new) {
            return Err(RegisterError::NotNewer);
        }
        let update = self.names.write(expect, new, addresses);
        let answer = self.exchange.tell(&update).await?;
        let code = answer.metadata.response_code;
        match outcome(code)? {
            Outcome::Done => Ok(WriteResult::Won),
            // Either somebody was first, or the public name is an alias.
            Outcome::Unwanted if self.is_alias().await? => {
                Err(RegisterError::Cname(self.names.public()))
            }
            Outcome::Missing | Outcome::Unwanted => Ok(WriteResult::Lost),
        }
    }

    async fn is_alias(&self) -> Result<bool, RegisterError> {
        let answer = self.exchange.ask(&self.names.alias()).await?;
        Ok(self.names.is_alias(&answer))
    }

    async fn try_put_own(&self, node: &Name, addresses: &[IpAddr]) -> Result<(), RegisterError> {
        if addresses.is_empty() {
            return Err(RegisterError::NoAddress);
        }
        for found in [Found::Marked, Found::Nothing, Found::Same] {
            let update = self.names.put_own(node, addresses, found)?;
            let answer = self.exchange.tell(&update).await?;
            match outcome(answer.metadata.response_code)? {
                Outcome::Done => return Ok(()),
                Outcome::Missing | Outcome::Unwanted => {}
            }
        }
        Err(RegisterError::Foreign(self.names.own(node)?.to_ascii()))
    }

    async fn try_forget(
        &self,
        node: &Name,
        addresses: &[IpAddr],
    ) -> Result<Forgotten, RegisterError> {
        if addresses.is_empty() {
            return Err(RegisterError::NoAddress);
        }
        let update = self.names.forget(node, addresses)?;
        let answer = self.exchange.tell(&update).await?;
        match outcome(answer.metadata.response_code)? {
            Outcome::Done => Ok(Forgotten::Removed),
            Outcome::Missing | Outcome::Unwanted => Ok(Forgotten::Kept),
        }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RegisterError>>,
    ) -> Result<T, RegisterError> {
        let result = timeout(self.exchange.timeout, call).await;
        result.unwrap_or(Err(RegisterError::TimedOut))
    }
}

impl Register for Rfc2136 {
    fn read(&self) -> Pending<'_, Result<Option<Registered>, RegisterError>> {
        Box::pin(self.within(self.try_read()))
    }

    fn write<'a>(
        &'a self,
        expect: Option<&'a Registered>,
        new: &'a Registered,
        addresses: &'a [IpAddr],
    ) -> Pending<'a, WriteResult> {
        Box::pin(async move {
            let result = self.within(self.try_write(expect, new, addresses)).await;
            result.unwrap_or_else(WriteResult::Unknown)
        })
    }

    fn put_own<'a>(
        &'a self,
        node: &'a Name,
        addresses: &'a [IpAddr],
    ) -> Pending<'a, Result<(), RegisterError>> {
        Box::pin(self.within(self.try_put_own(node, addresses)))
    }

    fn forget<'a>(
        &'a self,
        node: &'a Name,
        addresses: &'a [IpAddr],
    ) -> Pending<'a, Result<Forgotten, RegisterError>> {
        Box::pin(self.within(self.try_forget(node, addresses)))
    }
}

/// The server's verdict on an update.
enum Outcome {
    /// It is done.
    Done,
    /// A set that had to be there is missing or another.
    Missing,
    /// A set that had to be missing is there.
    Unwanted,
}

fn outcome(code: ResponseCode) -> Result<Outcome, RegisterError> {
    if code == ResponseCode::NoError {
        Ok(Outcome::Done)
    } else if code == ResponseCode::NXRRSet {
        Ok(Outcome::Missing)
    } else if code == ResponseCode::YXRRSet {
        Ok(Outcome::Unwanted)
    } else {
        Err(RegisterError::BadReply(format!("{code} to an update")))
    }
}
