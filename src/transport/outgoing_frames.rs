//! hyper reports its own refusals to the peer only, so they are detected in the outgoing
//! bytes: the HTTP/2 frames that end a stream or a connection, and the status 431.

use super::refusal_log::RefusalKind;

/// The length of a frame header (RFC 9113, 4.1).
const FRAME_HEADER: usize = 9;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// Error codes (RFC 9113, 7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const STREAM_CLOSED: u32 = 5;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The start of the HTTP/1.1 response to an oversized request head.
const HTTP1_HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431";

/// The same status as an HTTP/2 header field, sent for the first time on a connection:
/// `:status` with incremental indexing, and the Huffman code of `431` (RFC 7541, 6.2.1).
const HTTP2_HEAD_TOO_LARGE: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xFF];

/// Follows the bytes written to a connection.
#[derive(Default)]
pub(crate) enum OutgoingFrames {
    /// No byte has been written.
    #[default]
    Empty,
    Http1,
    Http2(FrameParser),
}

impl OutgoingFrames {
    /// Scans the next written bytes and reports the refusals in them.
    pub(crate) fn scan(&mut self, written: &[u8], mut on_refusal: impl FnMut(RefusalKind)) {
        if let (Self::Empty, Some(first)) = (&self, written.first()) {
            // The first HTTP/2 frame is SETTINGS, whose length begins with a zero byte.
            *self = match first {
                0 => Self::Http2(FrameParser::default()),
                _ => Self::Http1,
            };
        }
        match self {
            Self::Empty => {}
            Self::Http1 if written.starts_with(HTTP1_HEAD_TOO_LARGE) => {
                on_refusal(RefusalKind::Head);
            }
            Self::Http1 => {}
            Self::Http2(parser) => parser.scan(written, on_refusal),
        }
    }
}

/// The position in the sequence of frames.
#[derive(Default)]
pub(crate) struct FrameParser {
    /// The first bytes of the current frame, `length` of which have been written.
    start: [u8; FRAME_HEADER + 8],
    length: usize,
    /// Bytes to skip until the next frame.
    skip: usize,
}

impl FrameParser {
    fn scan(&mut self, mut bytes: &[u8], mut on_refusal: impl FnMut(RefusalKind)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let count = (self.needed() - self.length).min(bytes.len());
            let (start, rest) = bytes.split_at(count);
            self.start[self.length..self.length + count].copy_from_slice(start);
            self.length += count;
            bytes = rest;
            if self.length == self.needed() {
                if let Some(kind) = self.refusal() {
                    on_refusal(kind);
                }
                self.skip = (FRAME_HEADER + self.payload_length()).saturating_sub(self.length);
                self.length = 0;
            }
        }
    }

    /// The number of bytes needed to classify the current frame: its header, and its error
    /// code or first header field where it has one.
    fn needed(&self) -> usize {
        let payload = match (self.length, self.start[3]) {
            (FRAME_HEADER.., HEADERS) => HTTP2_HEAD_TOO_LARGE.len(),
            (FRAME_HEADER.., RST_STREAM) => 4,
            (FRAME_HEADER.., GOAWAY) => 8,
            _ => return FRAME_HEADER,
        };
        FRAME_HEADER + payload.min(self.payload_length())
    }

    fn payload_length(&self) -> usize {
        let [a, b, c, ..] = self.start;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn refusal(&self) -> Option<RefusalKind> {
        let start = &self.start[..self.length];
        if self.start[3] == HEADERS {
            return start
                .ends_with(&HTTP2_HEAD_TOO_LARGE)
                .then_some(RefusalKind::Head);
        }
        let code = u32::from_be_bytes(*start.last_chunk()?);
        match (self.start[3], code) {
            // Not refusals: the response was complete, an internal error has its own log line,
            // or the frame belongs to a stream refused before.
            (RST_STREAM, NO_ERROR | CANCEL | INTERNAL_ERROR | STREAM_CLOSED) => None,
            (RST_STREAM, REFUSED_STREAM) => Some(RefusalKind::Streams),
            (RST_STREAM, _) => Some(RefusalKind::Reset),
            (GOAWAY, ENHANCE_YOUR_CALM) => Some(RefusalKind::StreamErrors),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn refusals(writes: &[&[u8]]) -> Vec<RefusalKind> {
        let (mut outgoing, mut refusals) = (OutgoingFrames::default(), Vec::new());
        for written in writes {
            outgoing.scan(written, |kind| refusals.push(kind));
        }
        refusals
    }

    #[test]
    fn refusals_are_found_at_any_write_boundaries() {
        let code = |code: u32| code.to_be_bytes();
        let written = [
            frame(4, &[0, 3, 0, 0, 0, 100]),
            frame(RST_STREAM, &code(REFUSED_STREAM)),
            // A body that looks like a frame.
            frame(0, &frame(RST_STREAM, &code(REFUSED_STREAM))),
            frame(RST_STREAM, &code(NO_ERROR)),
            frame(RST_STREAM, &code(STREAM_CLOSED)),
            frame(HEADERS, &HTTP2_HEAD_TOO_LARGE),
            frame(HEADERS, &[0x88, 0x48, 0x83, 0x69, 0x90, 0xFF]),
            frame(HEADERS, &[0xBE]),
            frame(4, &[]),
            frame(RST_STREAM, &code(1)),
            frame(GOAWAY, &[code(7), code(NO_ERROR)].concat()),
            frame(
                GOAWAY,
                &[&code(7)[..], &code(ENHANCE_YOUR_CALM), b"calm"].concat(),
            ),
            frame(RST_STREAM, &code(REFUSED_STREAM)),
        ]
        .concat();
        let expected = [
            RefusalKind::Streams,
            RefusalKind::Head,
            RefusalKind::Reset,
            RefusalKind::StreamErrors,
            RefusalKind::Streams,
        ];
        assert_eq!(refusals(&[&written]), expected);
        for size in 1..20 {
            let writes: Vec<&[u8]> = written.chunks(size).collect();
            assert_eq!(refusals(&writes), expected, "writes of {size} bytes");
        }
    }

    #[test]
    fn an_http1_status_is_found_at_the_start_of_a_write() {
        let response = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n";
        assert_eq!(refusals(&[response]), [RefusalKind::Head]);
        assert_eq!(
            refusals(&[b"HTTP/1.1 200 OK\r\n\r\n", response]),
            [RefusalKind::Head]
        );
        assert_eq!(refusals(&[b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]), []);
    }
}
