//! The data plane's whole view of the world.

mod settings;

pub use settings::{
    BackendSettings, Keepalive, ListenerSettings, OnDead, Policy, PoolSettings, Protocol,
    ProxyVersion,
};
