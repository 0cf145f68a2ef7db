//! The outcome of a request, read from its response.

use std::{borrow::Cow, error::Error as _};

use axum::http::{Response, StatusCode, header};
use tonic::{Code, Status};

use super::log_quota::QuotaClass;
use crate::{error_chain::with_causes, http::replies::Failure, no_effect::NoEffect, rpc::status};

/// The outcome of a request.
pub(super) struct RequestOutcome {
    /// The name of the gRPC code, or the HTTP status.
    pub(super) code: Cow<'static, str>,
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) cause: Option<String>,
    pub(super) effect: Effect,
}

/// The effect of a request, which decides on its line.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// The request succeeded, and changed something unless its method is quiet.
    Change,
    /// The request succeeded and changed nothing.
    None,
    /// The request failed.
    Failed(QuotaClass),
}

impl RequestOutcome {
    pub(super) const CANCELLED: Self = Self {
        code: Cow::Borrowed("CANCELLED"),
        reason: None,
        cause: None,
        effect: Effect::Failed(QuotaClass::Expendable),
    };

    pub(super) fn of<B>(response: &Response<B>) -> Self {
        // Status::into_http adds the whole status, with its cause, to the extensions; a
        // success with a body has none.
        if let Some(status) = response.extensions().get::<Status>() {
            return Self {
                code: status::code_name(status.code()).into(),
                reason: status::reason(status),
                cause: status.source().map(with_causes),
                effect: Effect::of(response, status.code() != Code::Ok, || {
                    status.source()?;
                    Some(status.code() == Code::Unavailable)
                }),
            };
        }
        let is_grpc = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        // The HTTP routes add this for the same purpose.
        let failure = response.extensions().get::<Failure>();
        let cause = failure.and_then(|failure| failure.cause.as_ref());
        let is_failed = !response.status().is_success() && !response.status().is_redirection();
        Self {
            code: if is_grpc {
                status::code_name(Code::Ok).into()
            } else {
                response.status().as_u16().to_string().into()
            },
            reason: failure.map(|failure| failure.reason.into()),
            cause: cause.map(|cause| with_causes(cause.as_ref())),
            effect: Effect::of(response, is_failed, || {
                cause?;
                Some(response.status() == StatusCode::SERVICE_UNAVAILABLE)
            }),
        }
    }
}

impl Effect {
    /// `fault` is evaluated for failures: `None` without an internal cause, else whether the
    /// cause is an unavailable resource.
    fn of<B>(
        response: &Response<B>,
        is_failed: bool,
        fault: impl FnOnce() -> Option<bool>,
    ) -> Self {
        if !is_failed {
            let no_effect = response.extensions().get::<NoEffect>();
            return no_effect.map_or(Self::Change, |_| Self::None);
        }
        Self::Failed(match fault() {
            None => QuotaClass::Expendable,
            Some(true) => QuotaClass::Unavailable,
            Some(false) => QuotaClass::Internal,
        })
    }
}
