//! tandem: a Layer-4 TCP load balancer that is its own failover pair.

pub mod admin;
pub mod app;
pub mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dns;
pub mod event;
pub mod health;
pub mod kernel;
pub mod metrics;
pub mod net;
pub mod pair;
pub mod pool;
pub mod proxy;
pub mod relay;
pub mod status;
pub mod types;
