//! What Bienvenue answers otherwise than the original on purpose. `docs/flask.md` gives the
//! reasons.

use std::collections::BTreeSet;

use serde_json::Value;

use super::exchange::{Answer, Request};

/// The differences and their names in `docs/flask.md`.
macro_rules! differences {
    ($($name:ident = $title:literal,)*) => {
        /// A deliberate difference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Difference {
            $($name,)*
        }

        impl Difference {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in `docs/flask.md`.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

differences! {
    JsonReplies = "Refusals and redirects are JSON",
    CookieAttributes = "The cookie has more attributes",
    ClearedCookie = "A logout clears the cookie",
    OneSpelling = "An e-mail has one spelling",
    OnlyAddresses = "An e-mail is an address",
    PasswordPolicy = "Passwords are checked when they are set",
    NothingTruncated = "Long passwords are not cut off",
    FieldsFirst = "A bad field is named first",
    LoginsTellNothing = "A refused login tells nothing",
    OtherDevices = "Other devices stay logged in",
    ReplacedSession = "A login ends the session that it came with",
    ResetEndsSessions = "A reset ends all sessions",
    TimeLimits = "Sessions and reset tokens expire",
    OwnToken = "A reset token is good with its own e-mail",
    StrictForms = "Forms are read strictly",
    OnlyUrlencoded = "Forms are urlencoded",
    LargeForms = "Large forms are refused",
    EqualCookies = "Every session_id in a request is looked at",
    UnquotedCookies = "Cookies are read as they are sent",
    OtherOrigins = "Requests from other origins are refused",
    LiteralPaths = "Paths are compared as they are sent",
    ResetPage = "There is a page at /reset_password",
    OneHost = "A request names one host",
}

/// Takes those differences out of an answer of Bienvenue's that may be in any, and notes
/// which there were.
pub fn without_general_ones(
    request: &Request,
    original: &Answer,
    own: &Answer,
    seen: &mut BTreeSet<Difference>,
) -> Answer {
    let mut rest = own.clone();
    let is_page = original.content_type.as_deref() == Some("text/html; charset=utf-8");
    if is_page && own.status >= 300 && is_message(own) {
        seen.insert(Difference::JsonReplies);
        rest.content_type.clone_from(&original.content_type);
        rest.body.clone_from(&original.body);
    }
    let fewer = BTreeSet::from(["Path=/".to_owned()]);
    let more = ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax"];
    let more: BTreeSet<_> = more.map(str::to_owned).into();
    for (there, here) in original.cookies.iter().zip(&mut rest.cookies) {
        if there.attributes == fewer && here.attributes == more {
            seen.insert(Difference::CookieAttributes);
            here.attributes.clone_from(&fewer);
        }
    }
    if original.cookies.is_empty() && own.status == 302 {
        let clears = |cookie: &super::exchange::SetCookie| {
            cookie.value.is_empty() && cookie.attributes.contains("Max-Age=0")
        };
        if own.cookies.len() == 1 && own.cookies.iter().all(clears) {
            seen.insert(Difference::ClearedCookie);
            rest.cookies.clear();
        }
    }
    if request.path == "/reset_password"
        && let Some(allow) = &mut rest.allow
        && allow.remove("GET")
        && allow.remove("HEAD")
    {
        seen.insert(Difference::ResetPage);
    }
    rest
}

/// Whether an answer is `{"message": …}`, or says that it would be one with a body.
fn is_message(answer: &Answer) -> bool {
    if answer.content_type.as_deref() != Some("application/json") {
        return false;
    }
    let body: Option<Value> = serde_json::from_str(&answer.body).ok();
    let fields = body.as_ref().and_then(Value::as_object);
    answer.body.is_empty()
        || fields.is_some_and(|fields| fields.len() == 1 && fields["message"].is_string())
}
