//! A protobuf encoder for frequent replies, which needs no generated message.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

/// Encodes messages from the last byte to the first, so that the length of a nested message
/// is known before it is written in front of it.
pub(crate) struct Fields {
    /// The free bytes, followed by the written ones.
    bytes: Vec<u8>,
    start: usize,
}

/// Wire types (protobuf.dev/programming-guides/encoding).
const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// A field number below 16, so that its tag is one byte.
type FieldNumber = u8;

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

    /// An `int64`, an `int32` or a `bool`; 0 is left out.
    pub(crate) fn integer(&mut self, field: FieldNumber, value: i64) {
        if value != 0 {
            self.varint(value.cast_unsigned());
            self.byte(field << 3 | VARINT);
        }
    }

    /// A `string`; an empty one is left out.
    pub(crate) fn text(&mut self, field: FieldNumber, text: &str) {
        if !text.is_empty() {
            self.put(text.as_bytes());
            self.length(text.len());
            self.byte(field << 3 | LENGTH_DELIMITED);
        }
    }

    /// An IP address as a `string`.
    pub(crate) fn address(&mut self, field: FieldNumber, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.message(field, |fields| fields.dotted(address)),
            IpAddr::V6(address) => {
                let mut text = String::new();
                // Writing to a string cannot fail.
                let _ = write!(text, "{address}");
                self.text(field, &text);
            }
        }
    }

    /// Ten times as fast as `Display`.
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

    /// A nested message, even an empty one; `write` writes its fields from the last to the
    /// first.
    pub(crate) fn message(&mut self, field: FieldNumber, write: impl FnOnce(&mut Self)) {
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

    /// Seven bits in each byte, the lowest first, with a continuation bit in all but the
    /// last.
    fn varint(&mut self, value: u64) {
        // Small numbers, then the parts of a timestamp: nearly all values.
        match value {
            0..0x80 => self.array([value as u8]),
            0x80..0x4000 => self.array(groups::<2>(value)),
            0x20_0000..0x1000_0000 => self.array(groups::<4>(value)),
            0x1000_0000..0x8_0000_0000 => self.array(groups::<5>(value)),
            _ => {
                let bits = (u64::BITS - value.leading_zeros()) as usize;
                self.put(&groups::<10>(value)[..bits.div_ceil(7)]);
                // The last of the fewer bytes has no continuation bit.
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

    /// The same with a constant length.
    #[inline]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        if self.start < N {
            self.grow(N);
        }
        let end = self.start;
        self.start -= N;
        self.bytes[self.start..end].copy_from_slice(&bytes);
    }

    /// Adds as much free space in front as there are bytes.
    #[cold]
    fn grow(&mut self, bytes: usize) {
        let more = self.bytes.len() + bytes;
        self.bytes.splice(0..0, std::iter::repeat_n(0, more));
        self.start += more;
    }
}

/// The seven-bit groups of a varint of this length.
#[inline]
fn groups<const N: usize>(value: u64) -> [u8; N] {
    std::array::from_fn(|place| {
        let group = (value >> (7 * place)) as u8;
        if place < N - 1 { group | 0x80 } else { group }
    })
}
