//! What a request has changed, besides being answered.

/// Left in the extensions of a response to a success that changed nothing, or whose effect
/// has a line of the log to itself: its own line is worth no more than a refusal's, since
/// it costs its sender as little.
#[derive(Clone, Copy, Debug)]
pub struct NoEffect;
