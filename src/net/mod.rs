//! Sockets and codecs; knows nothing of balancing.

pub mod defer;
pub mod dial;
pub mod http1;
pub mod listen;
pub mod mysql;
pub mod proxy_header;
pub mod tune;
