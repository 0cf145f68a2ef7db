//! Protobuf, written by hand: for answers of which there are many, without a
//! generated message in between.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

/// The bytes of messages, written from the last to the first: so the length of a message,
/// which stands before it, is known when its turn comes.
pub(crate) struct Fields {
    /// What is free, and behind it what has been written.
    bytes: Vec<u8>,
    start: usize,
}

/// Wire types (protobuf.dev/programming-guides/encoding).
const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// The number of a field: below 16, so that its tag is one byte.
type Field = u8;

impl Fields {
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            start: bytes,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = self.bytes.len();
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// An `int64`, an `int32` or a `bool`; what is 0 is left out.
    pub(crate) fn integer(&mut self, field: Field, value: i64) {
        if value != 0 {
            self.varint(value.cast_unsigned());
            self.byte(field << 3 | VARINT);
        }
    }

    /// A `string`; an empty one is left out.
    pub(crate) fn text(&mut self, field: Field, text: &str) {
        if !text.is_empty() {
            self.put(text.as_bytes());
            self.length(text.len());
            self.byte(field << 3 | LENGTH_DELIMITED);
        }
    }

    /// A `string` of an IP address.
    pub(crate) fn address(&mut self, field: Field, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.message(field, |fields| fields.dotted(address)),
            IpAddr::V6(address) => {
                let mut text = String::new();
                // A string takes everything.
                let _ = write!(text, "{address}");
                self.text(field, &text);
            }
        }
    }

    /// As they display, in a tenth of the time.
    fn dotted(&mut self, address: Ipv4Addr) {
        for (place, octet) in address.octets().into_iter().rev().enumerate() {
            if place > 0 {
                self.byte(b'.');
            }
            self.byte(b'0' + octet % 10);
            if octet >= 10 {
                self.byte(b'0' + octet / 10 % 10);
            }
            if octet >= 100 {
                self.byte(b'0' + octet / 100);
            }
        }
    }

    /// A message, even one of no bytes; its fields from the last to the first.
    pub(crate) fn message(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        let behind = self.len();
        write(self);
        let length = self.len() - behind;
        self.length(length);
        self.byte(field << 3 | LENGTH_DELIMITED);
    }

    #[inline]
    fn length(&mut self, length: usize) {
        if length < 0x80 {
            self.byte(length as u8);
        } else {
            self.varint(length as u64);
        }
    }

    /// Seven bits in each byte, the lowest first; all but the last are marked.
    fn varint(&mut self, value: u64) {
        // Small numbers, then the halves of a timestamp: nearly all there are.
        match value {
            0..0x80 => self.array([value as u8]),
            0x80..0x4000 => self.array(groups::<2>(value)),
            0x20_0000..0x1000_0000 => self.array(groups::<4>(value)),
            0x1000_0000..0x8_0000_0000 => self.array(groups::<5>(value)),
            _ => {
                let bits = (u64::BITS - value.leading_zeros()) as usize;
                self.put(&groups::<10>(value)[..bits.div_ceil(7)]);
                // What was the last of ten is the last of fewer.
                let end = self.start + bits.div_ceil(7) - 1;
                self.bytes[end] &= 0x7F;
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.grow(bytes.len());
        }
        let end = self.start;
        self.start -= bytes.len();
        self.bytes[self.start..end].copy_from_slice(bytes);
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.array([byte]);
    }

    /// The same, of a length that the compiler knows.
    #[inline]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        if self.start < N {
            self.grow(N);
        }
        let end = self.start;
        self.start -= N;
        self.bytes[self.start..end].copy_from_slice(&bytes);
    }

    /// Makes room in front, for as much again as there is.
    #[cold]
    fn grow(&mut self, bytes: usize) {
        let more = self.bytes.len() + bytes;
        self.bytes.splice(0..0, std::iter::repeat_n(0, more));
        self.start += more;
    }
}

/// The groups of seven bits of a varint of so many bytes.
#[inline]
fn groups<const N: usize>(value: u64) -> [u8; N] {
    std::array::from_fn(|place| {
        let group = (value >> (7 * place)) as u8;
        if place < N - 1 { group | 0x80 } else { group }
    })
}
