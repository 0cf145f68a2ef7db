//! A decoder for the request of a batch, which holds hundreds of short strings in one
//! allocation.

use std::fmt;

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

/// The field number in `proto/`.
const SESSION_IDS: u32 = 1;

/// `BatchGetUserBySessionRequest`.
#[derive(Default)]
pub(crate) struct SessionIds {
    /// All strings, concatenated.
    texts: String,
    /// The end of each string.
    ends: Vec<usize>,
    /// The string being read.
    text: String,
}

impl SessionIds {
    pub(crate) fn to_vec(&self) -> Vec<&str> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.texts[start..*end])
            .collect()
    }
}

impl Message for SessionIds {
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != SESSION_IDS {
            return encoding::skip_field(wire_type, tag, buffer, context);
        }
        encoding::string::merge(wire_type, &mut self.text, buffer, context)?;
        self.texts.push_str(&self.text);
        self.ends.push(self.texts.len());
        Ok(())
    }

    fn encode_raw(&self, buffer: &mut impl BufMut) {
        for text in self.to_vec() {
            encoding::string::encode(SESSION_IDS, &text.to_owned(), buffer);
        }
    }

    fn encoded_len(&self) -> usize {
        let texts = self.to_vec().into_iter();
        texts
            .map(|text| encoding::string::encoded_len(SESSION_IDS, &text.to_owned()))
            .sum()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Session ids are secrets.
impl fmt::Debug for SessionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} session_ids", self.ends.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::proto::v1::BatchGetUserBySessionRequest;

    fn texts_of(bytes: &[u8]) -> Option<Vec<String>> {
        let read = SessionIds::decode(bytes).ok()?;
        assert_eq!(read.encode_to_vec().len(), read.encoded_len());
        let again = SessionIds::decode(read.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again.to_vec(), read.to_vec());
        Some(read.to_vec().into_iter().map(str::to_owned).collect())
    }

    proptest! {
        #[test]
        fn both_decoders_agree(
            session_ids in vec("\\PC{0,60}", 0..9),
            more in vec(any::<u8>(), 0..12),
            place in any::<prop::sample::Index>(),
        ) {
            let mut bytes = BatchGetUserBySessionRequest { session_ids }.encode_to_vec();
            // Whole, and with inserted bytes that may be another field or malformed.
            for _ in 0..2 {
                let generated = BatchGetUserBySessionRequest::decode(bytes.as_slice()).ok();
                prop_assert_eq!(texts_of(&bytes), generated.map(|request| request.session_ids));
                let place = place.index(bytes.len() + 1);
                bytes.splice(place..place, more.iter().copied());
            }
        }
    }
}
