//! `BatchGetUserBySession`: many session checks in one call.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use bienvenue::proto::v1::{
    BatchGetUserBySessionRequest, BatchGetUserBySessionResponse, SessionCheckError,
    batch_get_user_by_session_result::Outcome,
};
use prost::Message as _;
use tonic::{Code, Status};

use crate::harness::{
    Database, Expect as _, PATIENCE, TestServer, on_each_database, raw::Web, server::Client,
    status::violation,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// The limit of session ids in one call.
const MAX_IDS: usize = 256;

async fn batch(client: &Client, session_ids: &[String]) -> Result<Vec<Outcome>, Status> {
    let request = BatchGetUserBySessionRequest {
        session_ids: session_ids.to_vec(),
    };
    let response = client.stub().batch_get_user_by_session(request).await?;
    Ok(outcomes(response.into_inner()))
}

fn outcomes(response: BatchGetUserBySessionResponse) -> Vec<Outcome> {
    let outcomes = response.results.into_iter().map(|result| result.outcome);
    outcomes.collect::<Option<_>>().expect("an outcome of each")
}

/// The outcomes of single calls, one after the other.
async fn one_by_one(client: &Client, session_ids: &[String]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for session_id in session_ids {
        outcomes.push(match client.check(session_id).await {
            Ok(found) => Outcome::Found(found),
            Err(status) => {
                let refusal = Err::<(), _>(status.clone());
                refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
                // A batch has one message for malformed ids; those of single calls are longer.
                let message = match session_id.starts_with("sess_") && session_id.len() == 48 {
                    true => status.message(),
                    false => "the session is not valid; log in again",
                };
                Outcome::Error(SessionCheckError {
                    reason: "SESSION_INVALID".to_owned(),
                    message: message.to_owned(),
                })
            }
        });
    }
    outcomes
}

/// Well-formed session ids without a session.
fn unknown(many: Range<usize>) -> Vec<String> {
    // 32 bytes in base64url: the last character encodes four bits.
    many.map(|n| format!("sess_{n:042}A")).collect()
}

async fn log_in(server: &TestServer, many: usize) -> Vec<String> {
    let logins = server.logins(many).await.into_iter();
    logins.map(|login| login.session_id).collect()
}

on_each_database! {
    /// In the order of the request, from memory or from the database.
    async fn each_outcome_is_that_of_a_single_call(database: Database) {
        let limits = ["--session-idle=2h", "--session-sweep=1d"];
        for size in ["--session-index-size=1000", "--session-index-size=2", "--session-index-size=0"] {
            let settings = [limits.as_slice(), &[size]].concat();
            let server = TestServer::start_with(&database, &settings).await;
            let _ = server.client.register(crate::harness::EMAIL, crate::harness::PASSWORD).await;
            let expired = log_in(&server, 2).await;
            server.clock.advance(HOUR);
            let open = log_in(&server, 4).await;
            let ended = log_in(&server, 2).await;
            for session_id in &ended {
                server.client.logout(session_id).await.unwrap();
            }
            server.clock.advance(HOUR + HOUR / 2);
            let malformed = ["", "sess_", "sess_unknown", "unknown", "\u{1F511}"].map(str::to_owned);
            let session_ids = [
                &open[..2], &malformed, &expired, &open[..1], &unknown(0..3), &ended, &open[1..],
                &unknown(2..4), &expired[..1], &open[3..],
            ]
            .concat();
            // The first use in an hour, and the loading into memory, change the outcome a
            // moment later.
            let start = Instant::now();
            let (expected, answered, on_the_web) = loop {
                assert!(start.elapsed() < PATIENCE, "the outcomes keep changing");
                let expected = one_by_one(&server.client, &session_ids).await;
                let answered = batch(&server.client, &session_ids).await.unwrap();
                let mut on_the_web = Vec::new();
                for web in [Web::Binary, Web::Text] {
                    let request = BatchGetUserBySessionRequest { session_ids: session_ids.clone() };
                    let response = web.call(server.address, "BatchGetUserBySession", &request).await;
                    on_the_web.push(outcomes(response.unwrap()));
                }
                if one_by_one(&server.client, &session_ids).await == expected {
                    break (expected, answered, on_the_web);
                }
            };
            let found = expected.iter().filter(|outcome| matches!(outcome, Outcome::Found(_)));
            assert_eq!(found.count(), 7);
            for (n, expected) in expected.iter().enumerate() {
                assert_eq!(&answered[n], expected, "{size} {}", session_ids[n]);
            }
            assert_eq!(answered, expected);
            assert_eq!(on_the_web, [expected.clone(), expected]);
            server.stop().await;
        }
    }

    async fn an_empty_batch_is_answered_and_an_oversized_one_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        assert_eq!(batch(&server.client, &[]).await.unwrap(), []);
        // The reply fits gRPC's default message size.
        let session_ids = log_in(&server, MAX_IDS).await;
        let answered = batch(&server.client, &session_ids).await.unwrap();
        assert_eq!(answered, one_by_one(&server.client, &session_ids).await);
        assert!(answered.iter().all(|outcome| matches!(outcome, Outcome::Found(_))));
        let same = vec![session_ids[0].clone(); MAX_IDS];
        let answered = batch(&server.client, &same).await.unwrap();
        assert!(answered.iter().all(|outcome| *outcome == answered[0]));
        let answered = batch(&server.client, &unknown(0..MAX_IDS)).await.unwrap();
        let is_invalid = |outcome: &Outcome| {
            matches!(outcome, Outcome::Error(error) if error.reason == "SESSION_INVALID")
        };
        assert!(answered.len() == MAX_IDS && answered.iter().all(is_invalid));
        for too_many in [unknown(0..MAX_IDS + 1), vec![String::new(); MAX_IDS + 1]] {
            let refusal = batch(&server.client, &too_many).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            let (field, problem) = violation(&details);
            assert_eq!(field, "session_ids");
            assert!(problem.contains("256"), "{problem}");
        }
    }

    /// The reply to unknown ids is smaller than the request, over each protocol.
    async fn unknown_ids_are_not_amplified(database: Database) {
        let server = TestServer::start(&database).await;
        for (session_ids, most) in [
            (unknown(0..MAX_IDS), 256 * 24),
            (vec![String::new(); MAX_IDS], 256 * 26),
        ] {
            let request = BatchGetUserBySessionRequest { session_ids };
            let native = server.client.stub().batch_get_user_by_session(request.clone()).await;
            let web = Web::Binary.call(server.address, "BatchGetUserBySession", &request).await;
            for response in [native.unwrap().into_inner(), web.unwrap()] {
                let (sent, received) = (request.encoded_len(), response.encoded_len());
                println!("{sent} bytes sent, {received} received");
                assert!(received < most, "{sent} bytes sent, {received} received");
                let results = outcomes(response);
                let reason_of = |outcome: &Outcome| match outcome {
                    Outcome::Error(error) => error.reason.clone(),
                    Outcome::Found(_) => String::new(),
                };
                assert!(results.iter().all(|outcome| reason_of(outcome) == "SESSION_INVALID"));
                // The first ones have messages.
                let words = |outcome: &Outcome| matches!(outcome, Outcome::Error(error) if !error.message.is_empty());
                assert_eq!(results.iter().filter(|outcome| words(outcome)).count(), 16);
                assert!(results[..16].iter().all(words));
            }
        }
    }

    /// No batch sent after the reply to a logout finds the session, under load.
    async fn a_batch_is_never_stale(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_ids = log_in(&server, 48).await;
        let others = {
            let (client, session_ids) = (server.client.clone(), session_ids.clone());
            tokio::spawn(async move {
                loop {
                    batch(&client, &session_ids).await.unwrap();
                }
            })
        };
        for ended in 1..=session_ids.len() {
            server.client.logout(&session_ids[ended - 1]).await.unwrap();
            let answered = batch(&server.client, &session_ids).await.unwrap();
            let is_open = |outcome: &Outcome| matches!(outcome, Outcome::Found(_));
            let open: Vec<bool> = answered.iter().map(is_open).collect();
            let expected: Vec<bool> = (0..session_ids.len()).map(|n| n >= ended).collect();
            assert_eq!(open, expected);
        }
        others.abort();
    }
}
