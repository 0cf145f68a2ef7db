//! Protobuf, written by hand: for answers of which there are many, without a
//! generated message in between.

use std::io::Write as _;

/// The bytes of messages.
#[derive(Default)]
pub(super) struct Fields(Vec<u8>);

/// Wire types (protobuf.dev/programming-guides/encoding).
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Fields {
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

    /// A `string` of what a value displays as: less than 128 bytes.
    pub(super) fn display(&mut self, field: u64, value: impl std::fmt::Display) {
        self.message(field, |fields| {
            // A vector takes everything.
            let _ = write!(fields.0, "{value}");
        });
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
