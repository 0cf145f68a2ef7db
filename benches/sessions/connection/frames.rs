//! The HTTP/2 frames (RFC 9113, section 6) needed by a client of one method.

use std::io;

const HEAD: usize = 9;

/// The default limit on the length of a frame.
const LONGEST: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Flags with additional fields around the header block, which are not supported.
const PADDED_OR_PRIORITY: u8 = 8 | 32;

const SETTINGS_INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// The type of a frame.
pub enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    Ping,
    GoAway,
    WindowUpdate,
    Other,
}

/// A received frame.
pub struct Frame<'a> {
    pub kind: Kind,
    flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame in some bytes, and its length; `None` while it is incomplete.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let &[long, middle, low, kind, flags, a, b, c, d] = bytes.first_chunk::<HEAD>()?;
        let end = HEAD + u32::from_be_bytes([0, long, middle, low]) as usize;
        let payload = bytes.get(HEAD..end)?;
        let kind = match kind {
            DATA => Kind::Data,
            HEADERS => Kind::Headers,
            RST_STREAM => Kind::Reset,
            SETTINGS => Kind::Settings,
            PING => Kind::Ping,
            GOAWAY => Kind::GoAway,
            WINDOW_UPDATE => Kind::WindowUpdate,
            _ => Kind::Other,
        };
        let frame = Self {
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]),
            payload,
        };
        Some((frame, end))
    }

    pub fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    pub fn is_acknowledgement(&self) -> bool {
        self.flags & ACK != 0
    }

    /// The header block, which the measured servers do not split.
    pub fn header_block(&self) -> io::Result<&'a [u8]> {
        if self.flags & END_HEADERS == 0 || self.flags & PADDED_OR_PRIORITY != 0 {
            return Err(io::Error::other("headers in several frames"));
        }
        Ok(self.payload)
    }

    /// The number in a WINDOW_UPDATE.
    pub fn number(&self) -> io::Result<u32> {
        let bytes = self.payload.try_into().map_err(io::Error::other)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// Writes SETTINGS with this initial window per stream.
pub fn settings(output: &mut Vec<u8>, window: u32) {
    let value = [
        SETTINGS_INITIAL_WINDOW_SIZE.as_slice(),
        &window.to_be_bytes(),
    ]
    .concat();
    frame(output, SETTINGS, 0, 0, &value);
}

/// Writes a WINDOW_UPDATE of the connection.
pub fn window_update(output: &mut Vec<u8>, more: u32) {
    frame(output, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
}

pub fn acknowledge_settings(output: &mut Vec<u8>) {
    frame(output, SETTINGS, ACK, 0, &[]);
}

pub fn acknowledge_ping(output: &mut Vec<u8>, payload: &[u8]) {
    frame(output, PING, ACK, 0, payload);
}

/// Writes a complete request: its head, and its message after gRPC's five bytes.
pub fn request(output: &mut Vec<u8>, stream: u32, head: &[u8], message: &[u8]) {
    frame(output, HEADERS, END_HEADERS, stream, head);
    let length = u32::try_from(message.len()).expect("a small message");
    frame_head(output, DATA, END_STREAM, stream, message.len() + 5);
    output.push(0);
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(message);
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    frame_head(output, kind, flags, stream, payload.len());
    output.extend_from_slice(payload);
}

fn frame_head(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    assert!(length <= LONGEST, "a message fits one frame");
    let length = u32::try_from(length).expect("a short frame").to_be_bytes();
    output.extend_from_slice(&length[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
}
