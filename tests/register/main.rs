//! The register on real DNS servers: bind9 and knot, each an instance of its
//! own on a loopback port, ended by its id. A test that lacks its server fails
//! and says what to install. Figures go to standard error as
//! `figure: NAME = VALUE`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "these tests watch real processes in real time, and helpers of a test may unwrap"
)]

mod docs;
mod kit;
mod lost;
mod names;
mod race;
mod refused;
mod restart;

/// Each test for both servers, as tests of their own.
#[macro_export]
macro_rules! on_both {
    ($($test:ident)*) => {
        mod on_bind {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::kit::server::Kind::Bind).await;
            })*
        }
        mod on_knot {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::kit::server::Kind::Knot).await;
            })*
        }
    };
}
