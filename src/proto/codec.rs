//! The codec of the generated services.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

/// The first buffer of a reply, in bytes. Most replies are shorter; tonic's default of 8
/// KiB would be held for each reply that waits to be sent.
const BUFFER: usize = 512;

/// The size up to which a stream is sent at once, in bytes: tonic's default.
const YIELD: usize = 32 * 1024;

/// Protobuf in buffers no larger than the messages in them.
#[derive(Clone, Copy, Debug)]
pub struct CompactCodec<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for CompactCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CompactCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Self;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::default().decoder()
    }
}

impl<T: Message, U> Encoder for CompactCodec<T, U> {
    type Item = T;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
        Ok(())
    }
}
