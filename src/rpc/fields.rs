//! Protobuf, written by hand: for answers of which there are many, without a
//! generated message in between.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
};

/// The bytes of messages.
pub(super) struct Fields(Vec<u8>);

/// Wire types (protobuf.dev/programming-guides/encoding).
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Fields {
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An `int64`, an `int32` or a `bool`; what is 0 is left out.
    pub(super) fn integer(&mut self, field: u64, value: i64) {
        if value != 0 {
            self.varint(field << 3 | VARINT);
            self.varint(value.cast_unsigned());
        }
    }

    /// A `string`; an empty one is left out.
    pub(super) fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.varint(field << 3 | LENGTH_DELIMITED);
            self.varint(text.len() as u64);
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    /// A `string` of an IP address.
    pub(super) fn address(&mut self, field: u64, address: IpAddr) {
        self.message(field, |fields| match address {
            IpAddr::V4(address) => fields.dotted(address),
            // A vector takes everything.
            IpAddr::V6(address) => drop(write!(fields.0, "{address}")),
        });
    }

    /// As they display, in a tenth of the time.
    fn dotted(&mut self, address: Ipv4Addr) {
        for (place, octet) in address.octets().into_iter().enumerate() {
            if place > 0 {
                self.0.push(b'.');
            }
            if octet >= 100 {
                self.0.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.0.push(b'0' + octet / 10 % 10);
            }
            self.0.push(b'0' + octet % 10);
        }
    }

    /// A message, even one of no bytes.
    pub(super) fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.varint(field << 3 | LENGTH_DELIMITED);
        // Its length comes first, and is not known yet. One byte will do for most.
        let start = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - start - 1;
        if length < 0x80 {
            self.0[start] = length as u8;
            return;
        }
        let end = self.0.len();
        self.varint(length as u64);
        let more = self.0.len() - end - 1;
        // The length, at the end for now, goes to the front: what stands there moves
        // on by all of it but one byte.
        let mut encoded = [0; 10];
        encoded[..=more].copy_from_slice(&self.0[end..]);
        self.0.copy_within(start + 1..end, start + 1 + more);
        self.0[start..=start + more].copy_from_slice(&encoded[..=more]);
        self.0.truncate(end + more);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
