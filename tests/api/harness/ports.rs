//! Ports for programs that cannot choose one themselves.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

/// The first of these ports, and their number: all below the range from which the operating
/// system chooses (32768 and up), so that no listener of another test gets one meanwhile.
const FIRST: u16 = 10_000;
const COUNT: u16 = 9_000;

/// A free port of 127.0.0.1. Each call returns another one.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let start = (process::id() % u32::from(COUNT)) as u16;
    let next = NEXT.get_or_init(|| AtomicU16::new(start));
    loop {
        let port = FIRST + next.fetch_add(1, Relaxed) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
