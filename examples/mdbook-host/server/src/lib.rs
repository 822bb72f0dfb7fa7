//! A small file server for a rendered book: the standard library and nothing else.
//!
//! It is the payload of the `mdbook-host` example, so it stays what a payload
//! usually is: an ordinary program that knows nothing about containers.
//!
//! - [`http`]: bytes to a request, and a response to bytes; no sockets.
//! - [`site`]: a request's path to an open file below one directory.
//! - [`server`]: the listener, the fixed pool of workers, the time limits.
//! - [`notify`]: tells whoever started us that we answer.

pub mod http;
pub mod notify;
pub mod server;
pub mod site;
