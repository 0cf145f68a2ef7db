//! The reference for all rates: the `bcrypt` crate, one hash at a time on one thread.

use std::{hint::black_box, thread, time::Instant};

/// The mean rate over this number of hashes, per second.
pub fn rate(cost: u32, hashes: u32) -> f64 {
    let thread = thread::spawn(move || {
        let start = Instant::now();
        for _ in 0..hashes {
            black_box(bcrypt::bcrypt(
                cost,
                black_box([7; 16]),
                black_box(b"correct horse\0"),
            ));
        }
        f64::from(hashes) / start.elapsed().as_secs_f64()
    });
    thread.join().expect("the crate hashes")
}
