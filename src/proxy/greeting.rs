//! What a MySQL server says before it serves. An error in place of the greeting
//! may mean that it turns everybody away, and so does 1040 after the login: the
//! last place is for administrators, and only the login shows who is none. The
//! client that hears it says so, and others are sent elsewhere until the next
//! probe. A greeting of a server that did so before means that it may have
//! places again, and nobody avoids it any more.

use super::context::{Context, Seen};
use super::session::Session;
use crate::net::mysql::{Said, ServerError};
use crate::pool::Protocol;

/// So many bytes of a server are looked at: no login takes more.
pub(super) const LOGIN: u64 = 1024;

impl Session {
    /// Whether the backend turned clients away when it was chosen, and has said
    /// nothing yet.
    fn expects_greeting(&self) -> bool {
        self.aside.as_ref().is_some_and(|it| it.expects_greeting)
    }

    /// After its first `known` bytes the backend has said more, and the relay
    /// has just moved it: it is still in the scratch buffer, which saves a call.
    pub(super) fn hear_login(&mut self, ctx: &Context, known: u64) {
        let expects_greeting = self.expects_greeting();
        if !expects_greeting && self.door.pool.protocol != Protocol::Mysql {
            return;
        }
        let Some(backend) = &self.backend else {
            return;
        };
        // What does not fit is no part of a login.
        let length = usize::try_from(self.down.moved() - known).unwrap_or(usize::MAX);
        let said = ctx.tools.scratch.get(..length).unwrap_or_default();
        let is_opening = known == 0;
        match Said::of(said) {
            Said::Greeting if expects_greeting => {
                backend.live.clear();
                (ctx.shared.on_seen)(backend.id, Seen::Greeting);
            }
            Said::Error { code, number }
                if is_opening && self.is_for_all(code) || !is_opening && is_full(code, number) =>
            {
                backend.live.turned_away(ctx.now);
                (ctx.shared.on_seen)(backend.id, Seen::Refusal);
            }
            Said::Greeting | Said::Error { .. } | Said::Other => {}
        }
        if expects_greeting {
            self.aside().expects_greeting = false;
        }
    }

    /// Whether a server that refuses one connection with `code` refuses them
    /// all. Where it is told the client's address, it may refuse that one only.
    fn is_for_all(&self, code: u16) -> bool {
        match code {
            ServerError::TOO_MANY_CONNECTIONS | ServerError::SHUTDOWN => true,
            ServerError::HOST_BLOCKED | ServerError::HOST_DENIED => {
                self.door.pool.send_proxy.is_none()
            }
            _ => false,
        }
    }
}

/// Whether an error with this `code` and packet `number` ends a login because
/// the server is full. The answer to a login is the third packet or a later
/// one; that to a statement, which may hold any code, is the second.
const fn is_full(code: u16, number: u8) -> bool {
    code == ServerError::TOO_MANY_CONNECTIONS && number >= 2
}
