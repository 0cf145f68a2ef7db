//! The marker of responses whose request changed nothing.

/// A response extension: the request succeeded without changing anything, or its effect is
/// logged elsewhere. Such requests cost their sender as little as refused ones, so their log
/// lines fall under the same quota.
#[derive(Clone, Copy, Debug)]
pub struct NoEffect;
