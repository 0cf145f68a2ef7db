//! Many calls at once on one channel: gRPC libraries open as many streams as the server
//! announces, and queue further calls.

use bienvenue::proto::v1::GetUserBySessionRequest;
use futures_util::future::join_all;

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer, grpcio, h2::H2, on_each_database, raw::framed,
    server::Client,
};

/// More than the limit of requests in progress on one connection.
const CALLS: usize = 400;

/// Limits that admit every login, on a busy machine too.
const PATIENT: [&str; 2] = ["--hash-max-wait=50s", "--request-timeout=60s"];

on_each_database! {
    async fn one_channel_loses_no_call(database: Database) {
        let server = TestServer::start_with(&database, &PATIENT).await;
        server.register().await;
        let client = Client::connect(server.address).await;
        let logins = join_all((0..CALLS).map(|_| client.login(EMAIL, PASSWORD))).await;
        let lost: Vec<_> = logins.iter().filter_map(|login| login.as_ref().err()).collect();
        assert!(lost.is_empty(), "{} of {CALLS} logins: {:?}", lost.len(), lost[0]);
        let session_id = &logins[0].as_ref().unwrap().session_id;
        let checks = join_all((0..CALLS).map(|_| client.check(session_id))).await;
        let lost: Vec<_> = checks.iter().filter_map(|check| check.as_ref().err()).collect();
        assert!(lost.is_empty(), "{} of {CALLS} checks: {:?}", lost.len(), lost[0]);
    }

    /// Cancelled calls make room for as many new ones at once.
    async fn calls_after_cancelled_ones_are_served(database: Database) {
        let server = TestServer::start_with(&database, &["--max-requests-per-connection=8"]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let check = framed(&GetUserBySessionRequest { session_id });
        let mut connection = H2::open(server.address, 64 * 1024).await.unwrap();
        for _ in 0..8 {
            connection.begin_call("Login").await.unwrap();
        }
        connection.cancel_and_call("GetUserBySession", &check).await.unwrap();
        // Cancelled calls are answered before these, if at all.
        let seen = connection.until(|seen| seen.ends + seen.refusals >= 8).await.unwrap();
        assert_eq!((seen.ends, seen.refusals, seen.resets), (8, 0, 0), "{seen:?}");
    }
}

/// grpcio queues by the announced number of streams, too.
#[tokio::test(flavor = "multi_thread")]
async fn grpcio_loses_no_call() {
    let database = Database::sqlite();
    let server = TestServer::start_with(&database, &PATIENT).await;
    server.register().await;
    let program = format!(
        r#"
def lost(calls):
    return sum(call.exception(timeout=60) is not None for call in calls)

login, check = call("Login"), call("GetUserBySession")
credentials = message("{EMAIL}", "{PASSWORD}")
logins = [login.future(credentials) for _ in range({CALLS})]
print(lost(logins), "logins")
session = message(first_text(logins[0].result()))
checks = [check.future(session) for _ in range(5000)]
print(lost(checks), "checks")
"#
    );
    if let Some(printed) = grpcio::run(server.address, &program).await {
        assert_eq!(printed, "0 logins\n0 checks\n");
    }
}
