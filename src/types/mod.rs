//! The words that cross module borders: values that cannot be wrong.

mod address;
mod bad_header;
mod blame;
mod claim;
mod count;
mod endpoint;
mod fqdn;
mod name;
mod plain;
mod proxy_version;
mod reason;
mod secret;
mod sources;
mod taint;
mod unix;
mod weight;

pub use address::{Address, AddressError};
pub use bad_header::BadHeader;
pub use blame::{NoSource, OwnFault};
pub use claim::{Claim, Registered, Term};
pub use count::count;
pub use endpoint::Endpoint;
pub use fqdn::{Fqdn, FqdnError};
pub use name::{Name, NameError};
pub use plain::{plain, plain_network, plain_socket};
pub use proxy_version::ProxyVersion;
pub use reason::{ConnectFailure, Reason};
pub use secret::Secret;
pub use sources::Sources;
pub use taint::Taint;
pub use unix::{UnixAccess, UnixFile, UnixPath, UnixPathError};
pub use weight::{Weight, WeightError};
