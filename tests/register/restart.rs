//! The server dies and comes back.

use std::time::Duration;

use tandem::dns::register::{Register as _, Settled, WriteResult, settle};
use tandem::types::Registered;

use crate::kit::server::{Kind, Server};
use crate::kit::{PUBLIC, claim, ips, read_soon, register, settings};
use crate::on_both;

on_both! {
    what_was_won_outlives_a_kill
    a_kill_in_the_middle_of_claims_loses_none
}

async fn what_was_won_outlives_a_kill(kind: Kind) {
    let mut server = Server::start(kind);
    let register = register(&settings(&server));
    let mut now: Option<Registered> = None;
    for round in 0..5 {
        let new = claim(now.as_ref(), "lb1");
        let address = format!("192.0.2.{round}");
        let result = register.write(now.as_ref(), &new, &ips(&[&address])).await;
        // At once: what the answer promised must be on the disk.
        server.kill();
        assert_eq!(result, WriteResult::Won);
        server.revive();
        assert_eq!(read_soon(&register).await, Some(new.clone()));
        assert_eq!(server.addresses(PUBLIC), [address]);
        now = Some(new);
    }
}

/// Claims go on all the time; the server is killed under them, so that some
/// answers get lost. No claim that was answered may be undone, and each that
/// was not is settled by a read.
async fn a_kill_in_the_middle_of_claims_loses_none(kind: Kind) {
    let mut server = Server::start(kind);
    let mut settings = settings(&server);
    settings.timeout = Duration::from_millis(500);
    let claimer = register(&settings);
    settings.timeout = Duration::from_secs(10);
    let reader = register(&settings);
    let (mut now, mut unknown, mut mine) = (None, 0, 0);
    for round in 0..5 {
        let claims = tokio::spawn(claim_until_unknown(claimer.clone(), now.clone()));
        tokio::time::sleep(Duration::from_millis(100 + 17 * round)).await;
        server.kill();
        let (last, open) = claims.await.expect("the claims do not panic");
        server.revive();
        let read = read_soon(&reader).await;
        match settle(read.as_ref(), last.as_ref(), &open) {
            Settled::Mine => mine += 1,
            Settled::Open => {}
            Settled::Others => panic!("round {round}: {read:?} instead of {last:?} or {open:?}"),
        }
        unknown += 1;
        now = read;
    }
    crate::kit::figure(
        &format!("claims_cut_by_a_kill_{}", kind.name()),
        format_args!("{unknown}, of which {mine} were written"),
    );
}

/// The last claim that was won, and the one nobody answered.
async fn claim_until_unknown(
    register: tandem::dns::rfc2136::Rfc2136,
    mut now: Option<Registered>,
) -> (Option<Registered>, Registered) {
    loop {
        let new = claim(now.as_ref(), "lb1");
        match register
            .write(now.as_ref(), &new, &ips(&["192.0.2.1"]))
            .await
        {
            WriteResult::Won => now = Some(new),
            WriteResult::Lost => panic!("nobody else claims"),
            WriteResult::Unknown(_) => return (now, new),
        }
    }
}
