//! Sockets and codecs; knows nothing of balancing.
