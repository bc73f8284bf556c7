//! Sockets and codecs; knows nothing of balancing.

mod crc32c;
pub mod defer;
pub mod dial;
pub mod half_open;
pub mod http1;
mod int_option;
pub mod listen;
pub mod listening;
pub mod mysql;
pub mod proxy_header;
pub mod shutter;
pub mod socket_file;
pub mod source;
pub mod tune;
pub mod unix;
