//! The fields of users, sessions and checked sessions. This is the only place that fills them:
//! native replies are encoded from it directly, and generated messages are decoded from that.
//!
//! The field numbers are those of `proto/`, in descending order.

use chrono::{DateTime, Utc};

use super::fields::Fields;
use crate::{
    auth::{CheckedSession, LiveSession},
    domain::SessionOwner,
};

/// `GetUserBySessionResponse`.
pub(super) fn write_checked(fields: &mut Fields, checked: &CheckedSession) {
    fields.message(4, |duration| {
        duration.integer(2, checked.cache_for.subsec_nanos().into());
        // At most five minutes, so it fits.
        duration.integer(1, checked.cache_for.as_secs().cast_signed());
    });
    fields.integer(3, checked.revision.0);
    fields.message(2, |session| write_session(session, &checked.live, true));
    fields.message(1, |user| write_user(user, &checked.owner));
}

/// `Session`; `current` if it made the request.
#[inline]
pub(super) fn write_session(fields: &mut Fields, live: &LiveSession, current: bool) {
    let session = &live.session;
    fields.integer(7, current.into());
    fields.address(6, session.client.ip());
    fields.text(5, session.client.user_agent());
    write_timestamp(fields, 4, live.expires_at);
    write_timestamp(fields, 3, session.last_seen_at);
    write_timestamp(fields, 2, session.created_at);
    fields.text(1, session.handle.encode(&mut [0; 36]));
}

/// `User`.
#[inline]
pub(super) fn write_user(fields: &mut Fields, owner: &SessionOwner) {
    write_timestamp(fields, 3, owner.created_at);
    fields.text(2, owner.email.as_str());
    fields.integer(1, owner.id.0);
}

fn write_timestamp(fields: &mut Fields, field: u8, time: DateTime<Utc>) {
    fields.message(field, |timestamp| {
        timestamp.integer(2, time.timestamp_subsec_nanos().into());
        timestamp.integer(1, time.timestamp());
    });
}

#[cfg(test)]
pub(super) mod tests {
    use std::{net::IpAddr, time::Duration};

    use proptest::prelude::*;
    use prost_types::Timestamp;

    use super::*;
    use crate::{
        domain::{Client, CredentialVersion, Email, Revision, Session, SessionHandle, UserId},
        proto::v1,
        rpc::encoding::messages,
    };

    fn moment() -> impl Strategy<Value = DateTime<Utc>> {
        // From the year 1 to 9999, the range of a Timestamp.
        (-62_135_596_800_000_000..253_402_300_800_000_000_i64)
            .prop_map(|time| DateTime::from_timestamp_micros(time).unwrap())
    }

    prop_compose! {
        pub(in crate::rpc::encoding) fn checked()(
            times in [moment(), moment(), moment(), moment()],
            user_id in any::<i64>(),
            local in "[a-z]{1,60}",
            user_agent in "\\PC{0,300}",
            ip in any::<IpAddr>(),
            revision in 0_i64..,
            cache_for in any::<u32>(),
        ) -> CheckedSession {
            let session = Session {
                handle: SessionHandle::generate(),
                user_id: UserId(user_id),
                credential_version: CredentialVersion(1),
                created_at: times[0],
                last_seen_at: times[1],
                client: Client::new(&user_agent, ip),
            };
            CheckedSession {
                owner: SessionOwner {
                    id: UserId(user_id),
                    email: Email::parse(&format!("{local}@example.com")).unwrap(),
                    created_at: times[2],
                },
                live: LiveSession { session, expires_at: times[3] },
                revision: Revision(revision),
                cache_for: Duration::from_micros(cache_for.into()),
            }
        }
    }

    fn timestamp(time: DateTime<Utc>) -> Option<Timestamp> {
        Some(Timestamp {
            seconds: time.timestamp(),
            nanos: time.timestamp_subsec_nanos().cast_signed(),
        })
    }

    proptest! {
        /// The literals name every field, so that this does not compile when the protos get
        /// another one.
        #[test]
        fn every_field_is_filled(checked in checked()) {
            let (live, owner) = (&checked.live, &checked.owner);
            let session = &live.session;
            let expected = v1::GetUserBySessionResponse {
                user: Some(v1::User {
                    id: owner.id.0,
                    email: owner.email.to_string(),
                    created_at: timestamp(owner.created_at),
                }),
                session: Some(v1::Session {
                    handle: session.handle.to_string(),
                    created_at: timestamp(session.created_at),
                    last_seen_at: timestamp(session.last_seen_at),
                    expires_at: timestamp(live.expires_at),
                    user_agent: session.client.user_agent().to_string(),
                    ip: session.client.ip().to_string(),
                    current: true,
                }),
                revision: checked.revision.0,
                cache_for: prost_types::Duration::try_from(checked.cache_for).ok(),
            };
            let other = v1::Session { current: false, ..expected.session.clone().unwrap() };
            prop_assert_eq!(messages::session(live, false), other);
            prop_assert_eq!(messages::checked(&checked), expected);
        }
    }
}
