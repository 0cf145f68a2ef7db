//! A strict parser of urlencoded forms: ambiguous input is refused.

use std::{
    collections::{HashMap, hash_map::Entry},
    future,
    pin::Pin,
    sync::Arc,
};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, Method, StatusCode, header},
};
use percent_encoding::percent_decode;

use super::HttpState;
use crate::{error_code::ErrorCode, http::replies::ErrorReply};

const FORM: &str = "application/x-www-form-urlencoded";

/// How much of a refused body is read and discarded, in bytes. A connection closed with
/// unread bytes would be reset, so that the client might not receive the reply.
const MAX_DISCARDED: usize = 1024 * 1024;

/// The fields of a form, each sent once.
pub(crate) struct Form(HashMap<String, String>);

impl Form {
    /// Takes the value of a field; empty if the field was not sent.
    pub(crate) fn take(&mut self, name: &str) -> String {
        self.0.remove(name).unwrap_or_default()
    }

    /// Refuses a form without one of these fields.
    pub(crate) fn require(&self, names: &[&str]) -> Result<(), ErrorReply> {
        match names.iter().find(|name| !self.0.contains_key(**name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("{name} is missing");
                Err(ErrorReply::new(ErrorCode::InvalidField, message))
            }
        }
    }

    /// Parses `a=1&b=2`. `+` is a space and `%` starts a byte in hex; any other `%` stands
    /// for itself (URL Standard, 5.1).
    fn parse(body: &[u8]) -> Result<Self, ErrorReply> {
        let mut fields = HashMap::new();
        for pair in body.split(|byte| *byte == b'&') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let mut next = || decode(parts.next().unwrap_or_default());
            let (name, value) = (next()?, next()?);
            if pair.is_empty() {
                continue;
            }
            match fields.entry(name) {
                Entry::Vacant(entry) => entry.insert(value),
                // Some programs read the first value, others the last.
                Entry::Occupied(_) => {
                    return Err(malformed("a field is in the form twice; send it once"));
                }
            };
        }
        Ok(Self(fields))
    }
}

impl FromRequest<Arc<HttpState>> for Form {
    type Rejection = ErrorReply;

    async fn from_request(request: Request, state: &Arc<HttpState>) -> Result<Self, ErrorReply> {
        let (head, body) = request.into_parts();
        let body = read(body, state.max_form_size).await?;
        let is_none = !head.headers.contains_key(header::CONTENT_TYPE)
            && body.as_ref().is_some_and(Vec::is_empty);
        if !is_none && !is_form(&head.headers) {
            let message =
                format!("send a form: its content type is {FORM}, in UTF-8, not compressed");
            let status = status_of_no_form(state.as_original, &head.method);
            return Err(ErrorReply::new(ErrorCode::MalformedRequest, message).with_status(status));
        }
        let body = body.ok_or_else(|| {
            let message = format!(
                "the form is too large: at most {} bytes",
                state.max_form_size
            );
            ErrorReply::new(ErrorCode::MalformedRequest, message)
                .with_status(StatusCode::PAYLOAD_TOO_LARGE)
        })?;
        Self::parse(&body)
    }
}

/// The Flask service treated a body of another type as a form without fields.
fn status_of_no_form(as_original: bool, method: &Method) -> StatusCode {
    match (as_original, method) {
        (false, _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        // The reply to a form without a token.
        (true, &Method::PUT) => StatusCode::FORBIDDEN,
        (true, _) => StatusCode::BAD_REQUEST,
    }
}

/// Reads a whole body; `None` if it is too large.
async fn read(mut body: Body, limit: usize) -> Result<Option<Vec<u8>>, ErrorReply> {
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let frame = frame.map_err(|_| malformed("the form did not arrive whole; send it again"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length <= limit {
            kept.extend_from_slice(&data);
        } else if length > MAX_DISCARDED {
            break;
        }
    }
    Ok((length <= limit).then_some(kept))
}

/// Whether there is exactly one content type and it is a form's.
fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(found), None) = (types.next(), types.next()) else {
        return false;
    };
    let mut parts = found
        .to_str()
        .unwrap_or_default()
        .split(';')
        .map(|part| part.trim_matches([' ', '\t']).to_ascii_lowercase());
    parts.next().as_deref() == Some(FORM)
        && parts
            .all(|parameter| matches!(parameter.as_str(), "charset=utf-8" | "charset=\"utf-8\""))
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Decodes a name or a value. Lossy decoding could make two passwords equal.
fn decode(encoded: &[u8]) -> Result<String, ErrorReply> {
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    String::from_utf8(percent_decode(&spaced).collect())
        .map_err(|_| malformed("the form is not in UTF-8; encode it in UTF-8"))
}

fn malformed(message: &'static str) -> ErrorReply {
    ErrorReply::new(ErrorCode::MalformedRequest, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(body: &[u8]) -> Option<Vec<(String, String)>> {
        let mut fields: Vec<_> = Form::parse(body).ok()?.0.into_iter().collect();
        fields.sort();
        Some(fields)
    }

    #[test]
    fn forms_are_parsed_strictly() {
        for (body, expected) in [
            (&b""[..], &[][..]),
            (b"&&", &[]),
            (b"a=1&b=2", &[("a", "1"), ("b", "2")]),
            (b"a", &[("a", "")]),
            (b"=1", &[("", "1")]),
            (b"a=b=c", &[("a", "b=c")]),
            (b"a=1+2%2B3", &[("a", "1 2+3")]),
            (b"a=%26%3D%25", &[("a", "&=%")]),
            (b"a=100%", &[("a", "100%")]),
            (b"a=%zz%4", &[("a", "%zz%4")]),
            (b"a=%C3%A9\xC3\xA9", &[("a", "\u{E9}\u{E9}")]),
            (b"a=%00", &[("a", "\0")]),
            (b"a=1;b=2", &[("a", "1;b=2")]),
        ] {
            let expected = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(fields(body), Some(expected), "{body:?}");
        }
        for body in [
            &b"a=1&a=1"[..],
            b"a=1&b=2&%61=3",
            b"a&a",
            b"a=\xC3",
            b"a=%C3%28",
            b"a=%ED%A0%80",
            b"a=%C0%80",
            b"%FF=1",
        ] {
            assert_eq!(fields(body), None, "{body:?}");
        }
    }

    #[test]
    fn only_forms_in_utf8_are_accepted() {
        let is_form = |types: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in types {
                headers.append(header::CONTENT_TYPE, value.parse().unwrap());
            }
            is_form(&headers)
        };
        for right in [
            FORM,
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=utf-8",
            "application/x-www-form-urlencoded;charset=UTF-8",
            "application/x-www-form-urlencoded; charset=\"utf-8\"",
        ] {
            assert!(is_form(&[right]), "{right}");
        }
        for wrong in [
            "",
            "application/json",
            "text/plain",
            "multipart/form-data",
            "application/x-www-form-urlencodedx",
            "application/x-www-form-urlencoded; charset=latin-1",
            "application/x-www-form-urlencoded, text/plain",
        ] {
            assert!(!is_form(&[wrong]), "{wrong}");
        }
        assert!(!is_form(&[]) && !is_form(&[FORM, FORM]));
    }

    proptest! {
        #[test]
        fn encoded_fields_are_decoded(name in any::<String>(), value in any::<String>()) {
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            body.append_pair(&name, &value);
            prop_assert_eq!(fields(body.finish().as_bytes()), Some(vec![(name, value)]));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(body in any::<Vec<u8>>()) {
            let _ = fields(&body);
        }
    }
}
