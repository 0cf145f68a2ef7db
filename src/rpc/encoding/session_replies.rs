//! Replies to session checks of native callers, encoded without generated messages. Making
//! and freeing those would be most of the cost of a reply from the cache.

use std::marker::PhantomData;

use bytes::BufMut;
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstCodec;

use super::{fields::Fields, messages::MAX_ERROR_MESSAGES, session_fields::write_checked};
use crate::auth::{CheckedSession, SessionOutcome};

/// The buffer for a found session, in bytes. Most replies are shorter.
const FOUND_SIZE: usize = 320;

/// The same for a failed check of a batch.
const FAILED_SIZE: usize = 32;

/// The first buffer of a reply, and the size up to which it is sent as a whole, in bytes.
const BUFFER: usize = FOUND_SIZE + 5;
const YIELD: usize = 128 * 1024;

/// A reply encoded without a generated message.
pub(crate) trait Reply: Send + 'static {
    /// Its usual size at most, in bytes.
    fn size(&self) -> usize;

    fn write(&self, response: &mut impl BufMut);
}

impl Reply for CheckedSession {
    fn size(&self) -> usize {
        FOUND_SIZE
    }

    fn write(&self, response: &mut impl BufMut) {
        let mut fields = Fields::with_room(FOUND_SIZE);
        write_checked(&mut fields, self);
        response.put_slice(fields.as_bytes());
    }
}

impl Reply for Vec<SessionOutcome> {
    fn size(&self) -> usize {
        let found = self.iter().filter(|outcome| outcome.is_ok()).count();
        FOUND_SIZE * found + FAILED_SIZE * (self.len() - found)
    }

    fn write(&self, response: &mut impl BufMut) {
        // One after the other in the same few cache lines.
        let mut fields = Fields::with_room(FOUND_SIZE);
        let mut failed = 0;
        for outcome in self {
            fields.clear();
            fields.message(1, |result| match outcome {
                Ok(checked) => result.message(1, |found| write_checked(found, checked)),
                Err(error) => result.message(2, |check_error| {
                    failed += 1;
                    if failed <= MAX_ERROR_MESSAGES {
                        check_error.text(2, &error.to_string());
                    }
                    check_error.text(1, error.code().reason());
                }),
            });
            response.put_slice(fields.as_bytes());
        }
    }
}

/// Decodes generated messages and encodes replies without them.
pub(crate) struct ReplyCodec<R, Q>(PhantomData<fn(R) -> Q>);

impl<R, Q> Default for ReplyCodec<R, Q> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R: Reply, Q: Message + Default + 'static> Codec for ReplyCodec<R, Q> {
    type Encode = R;
    type Decode = Q;
    type Encoder = Self;
    type Decoder = <ProstCodec<(), Q> as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), Q>::default().decoder()
    }
}

impl<R: Reply, Q> Encoder for ReplyCodec<R, Q> {
    type Item = R;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        // Each reply reserves its buffer; the default begins with 8 KiB.
        BufferSettings::new(BUFFER, YIELD)
    }

    fn encode(&mut self, reply: R, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(reply.size());
        reply.write(buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        auth::AuthError,
        proto::v1::BatchGetUserBySessionResponse,
        rpc::encoding::{messages, session_fields::tests::checked},
    };

    fn outcome() -> impl Strategy<Value = SessionOutcome> {
        prop_oneof![
            3 => checked().prop_map(Ok),
            1 => Just(()).prop_map(|()| Err(AuthError::SessionInvalid)),
            1 => Just(()).prop_map(|()| Err(AuthError::Internal("x".into()))),
        ]
    }

    proptest! {
        /// Both encodings are equal to the byte.
        #[test]
        fn both_encodings_are_equal(outcomes in proptest::collection::vec(outcome(), 0..60)) {
            let mut written = Vec::new();
            outcomes.write(&mut written);
            let results = messages::outcomes(outcomes);
            let generated = BatchGetUserBySessionResponse { results };
            prop_assert_eq!(written, generated.encode_to_vec());
        }
    }
}
