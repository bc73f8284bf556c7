//! Sockets and codecs; knows nothing of balancing.

pub mod http1;
pub mod mysql;
pub mod proxy_header;
