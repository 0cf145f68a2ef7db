//! Header blocks (RFC 7541): the request's, and the `grpc-status` of received ones.

use std::{collections::VecDeque, io};

/// The size of the static table; the indexes of the dynamic table follow.
const STATIC: usize = 61;

const AUTHORITY: u8 = 1;
const METHOD_POST: u8 = 3;
const PATH: u8 = 4;
const SCHEME_HTTP: u8 = 6;

const INDEXED: u8 = 0x80;

/// The maximal number of entries in a dynamic table of 4,096 bytes, the default, with at
/// least 32 bytes each.
const MOST_ENTRIES: usize = 128;

/// `grpc-status`, plain and in the Huffman code (appendix B).
const NAME: &[u8] = b"grpc-status";
const NAME_IN_HUFFMAN: &[u8] = &[0x9A, 0xCA, 0xC8, 0xB2, 0x12, 0x34, 0xDA, 0x8F];

/// The head of a gRPC request. It uses only the static table, so it is the same for every
/// request.
pub fn request_head(path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![INDEXED | METHOD_POST, INDEXED | SCHEME_HTTP, PATH];
    string(&mut block, path);
    block.push(AUTHORITY);
    string(&mut block, authority);
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "bench"),
    ] {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

fn string(block: &mut Vec<u8>, text: &str) {
    // A longer text would need a second length byte.
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
    block.push(length.expect("a short text"));
    block.extend_from_slice(text.as_bytes());
}

/// The entries of a connection's dynamic table, as far as they concern `grpc-status`.
#[derive(Default)]
pub struct Statuses(VecDeque<Header>);

#[derive(Clone, Copy)]
enum Header {
    /// A `grpc-status`, with its value unless only the name is stored.
    Status(Option<u8>),
    Other,
}

impl Statuses {
    /// Reads a header block; returns its `grpc-status`.
    pub fn read(&mut self, block: &[u8]) -> io::Result<Option<u8>> {
        self.parse(block)
            .ok_or_else(|| io::Error::other("malformed headers"))
    }

    fn parse(&mut self, mut block: &[u8]) -> Option<Option<u8>> {
        let mut status = None;
        while let Some(first) = block.first().copied() {
            let header = if first & INDEXED != 0 {
                let index = integer(&mut block, 7)?;
                self.header(index)?
            } else if first & 0xE0 == 0x20 {
                // Updates of the table's size are ignored.
                integer(&mut block, 5)?;
                continue;
            } else {
                let is_kept = first & 0x40 != 0;
                let header = self.literal(&mut block, if is_kept { 6 } else { 4 })?;
                if is_kept {
                    self.0.push_front(header);
                    self.0.truncate(MOST_ENTRIES);
                }
                header
            };
            if let Header::Status(value) = header {
                status = Some(value?);
            }
        }
        Some(status)
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Option<Header> {
        let name = match integer(block, prefix)? {
            0 => {
                let (name, is_huffman) = text(block)?;
                let of_status = if is_huffman { NAME_IN_HUFFMAN } else { NAME };
                if name == of_status {
                    Header::Status(None)
                } else {
                    Header::Other
                }
            }
            index => self.header(index)?,
        };
        let (value, is_huffman) = text(block)?;
        Some(match name {
            Header::Status(_) => Header::Status(Some(number(value, is_huffman)?)),
            Header::Other => Header::Other,
        })
    }

    fn header(&self, index: usize) -> Option<Header> {
        match index.checked_sub(STATIC + 1) {
            Some(index) => self.0.get(index).copied(),
            // `grpc-status` is not in the static table.
            None => Some(Header::Other),
        }
    }
}

/// An integer with this many bits of prefix (section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let most = (1_usize << prefix) - 1;
    let (first, rest) = block.split_first()?;
    *block = rest;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let (byte, rest) = block.split_first()?;
        *block = rest;
        value += usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// An encoded string, and whether it is in the Huffman code (section 5.2).
fn text<'a>(block: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
    let is_huffman = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some((text, is_huffman))
}

/// A small decimal number.
fn number(text: &[u8], is_huffman: bool) -> Option<u8> {
    if !is_huffman {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    // 0, 1 and 2 have five bits: 0 to 2; the others six: 0x19 to 0x1F. Ones pad the last
    // byte.
    let mut bits = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut value: u8 = 0;
    loop {
        let mut code = 0;
        for _ in 0..5 {
            match bits.next() {
                Some(bit) => code = code << 1 | bit,
                None => return Some(value),
            }
        }
        let digit = match code {
            0..=2 => code,
            12..=15 => (code << 1 | bits.next()?) - 0x16,
            _ => return Some(value),
        };
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
}
