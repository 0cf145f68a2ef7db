//! hyper tells the refusals of its own to the peer alone. So they are read off the bytes
//! that go out: the frames of HTTP/2 that end a stream or a connection, and one status.

use super::refusal_log::RefusalKind;

/// The length of a frame's head (RFC 9113, 4.1).
const HEAD: usize = 9;

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

/// How the answer to a head that is too large begins.
const HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431";

/// The same as a field of HTTP/2, when it is sent for the first time on a connection:
/// `:status`, to be indexed, and the Huffman code of `431` (RFC 7541, 6.2.1).
const STATUS_HEAD_TOO_LARGE: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xFF];

/// The bytes that go out on a connection, one write after the other.
#[derive(Default)]
pub(crate) enum OutgoingFrames {
    /// Nothing has been sent.
    #[default]
    Silent,
    Http1,
    Http2(Frames),
}

impl OutgoingFrames {
    /// Follows some bytes that were sent, and tells the refusals among them.
    pub(crate) fn follow(&mut self, sent: &[u8], tell: impl FnMut(RefusalKind)) {
        if let (Self::Silent, Some(first)) = (&self, sent.first()) {
            // The first frame is SETTINGS, whose length begins with a zero.
            *self = match first {
                0 => Self::Http2(Frames::default()),
                _ => Self::Http1,
            };
        }
        let mut tell = tell;
        match self {
            Self::Silent => {}
            Self::Http1 if sent.starts_with(HEAD_TOO_LARGE) => tell(RefusalKind::Head),
            Self::Http1 => {}
            Self::Http2(frames) => frames.follow(sent, tell),
        }
    }
}

/// Where in the frames of a connection its bytes are.
#[derive(Default)]
pub(crate) struct Frames {
    /// The beginning of a frame, as far as it has come.
    start: [u8; HEAD + 8],
    length: usize,
    /// Bytes of a frame that are still to come and say nothing.
    rest: usize,
}

impl Frames {
    fn follow(&mut self, mut sent: &[u8], mut tell: impl FnMut(RefusalKind)) {
        loop {
            let passed = self.rest.min(sent.len());
            self.rest -= passed;
            sent = &sent[passed..];
            if sent.is_empty() {
                return;
            }
            let taken = (self.wanted() - self.length).min(sent.len());
            let (start, after) = sent.split_at(taken);
            self.start[self.length..self.length + taken].copy_from_slice(start);
            self.length += taken;
            sent = after;
            if self.length == self.wanted() {
                if let Some(met) = self.refusal() {
                    tell(met);
                }
                self.rest = (HEAD + self.payload()).saturating_sub(self.length);
                self.length = 0;
            }
        }
    }

    /// The least part of a frame that tells its meaning: its head, and an error code or the
    /// first field where it has one.
    fn wanted(&self) -> usize {
        let more = match (self.length, self.start[3]) {
            (HEAD.., HEADERS) => STATUS_HEAD_TOO_LARGE.len(),
            (HEAD.., RST_STREAM) => 4,
            (HEAD.., GOAWAY) => 8,
            _ => return HEAD,
        };
        HEAD + more.min(self.payload())
    }

    fn payload(&self) -> usize {
        let [a, b, c, ..] = self.start;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn refusal(&self) -> Option<RefusalKind> {
        let start = &self.start[..self.length];
        if self.start[3] == HEADERS {
            return start
                .ends_with(&STATUS_HEAD_TOO_LARGE)
                .then_some(RefusalKind::Head);
        }
        let code = u32::from_be_bytes(*start.last_chunk()?);
        match (self.start[3], code) {
            // These are no refusals: the answer was there first, or a fault has its own line,
            // or the rest came of a stream that was refused.
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

    fn told(writes: &[&[u8]]) -> Vec<RefusalKind> {
        let (mut outgoing, mut told) = (OutgoingFrames::default(), Vec::new());
        for sent in writes {
            outgoing.follow(sent, |met| told.push(met));
        }
        told
    }

    #[test]
    fn refusals_are_found_however_they_are_cut() {
        let code = |code: u32| code.to_be_bytes();
        let sent = [
            frame(4, &[0, 3, 0, 0, 0, 100]),
            frame(RST_STREAM, &code(REFUSED_STREAM)),
            // A body that looks like a frame.
            frame(0, &frame(RST_STREAM, &code(REFUSED_STREAM))),
            frame(RST_STREAM, &code(NO_ERROR)),
            frame(RST_STREAM, &code(STREAM_CLOSED)),
            frame(HEADERS, &STATUS_HEAD_TOO_LARGE),
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
        assert_eq!(told(&[&sent]), expected);
        for size in 1..20 {
            let writes: Vec<&[u8]> = sent.chunks(size).collect();
            assert_eq!(told(&writes), expected, "in parts of {size} bytes");
        }
    }

    #[test]
    fn a_status_of_http1_is_found_where_a_write_begins() {
        let refused = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n";
        assert_eq!(told(&[refused]), [RefusalKind::Head]);
        assert_eq!(
            told(&[b"HTTP/1.1 200 OK\r\n\r\n", refused]),
            [RefusalKind::Head]
        );
        assert_eq!(told(&[b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]), []);
    }
}
