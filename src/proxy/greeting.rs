//! What a server that was found to be full says first. A greeting means that it
//! has places again, and whoever sees one first says so: then nobody avoids it
//! until the next probe.

use super::context::{Context, Seen};
use super::session::Session;
use crate::net::mysql;

impl Session {
    /// Whether the backend was full when it was chosen, and has said nothing
    /// yet.
    pub(super) fn expects_greeting(&self) -> bool {
        self.aside.as_ref().is_some_and(|it| it.expects_greeting)
    }

    /// Looks at what the backend says first, if it is there, and leaves it to
    /// the relay.
    pub(super) fn hear_greeting(&mut self, ctx: &Context) {
        let Some(server) = &self.server else {
            return;
        };
        let mut first = [0; mysql::GREETING_START];
        // Nothing yet, or an error that the relay will meet, too.
        let Ok(length) = server.stream.peek(&mut first) else {
            return;
        };
        self.aside().expects_greeting = false;
        if let Some(backend) = &self.backend
            && mysql::begins_with_greeting(&first[..length])
        {
            (ctx.shared.on_seen)(backend.id, Seen::Greeting);
        }
    }
}
