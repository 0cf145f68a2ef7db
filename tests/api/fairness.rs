//! A flood of one kind of call leaves the other kinds their share of the hashing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use tonic::Status;

use crate::harness::{
    Calibration, Call, Database, EMAIL, Flood, NEW_PASSWORD, PASSWORD, TestServer, eventually,
    server::Client,
};

/// The account of the flood.
const FLOODER: &str = "flooder@example.com";
const CHANGER: &str = "changer@example.com";

/// The purpose of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Registration,
    Login,
    Change,
    Reset,
}

const KINDS: [Kind; 4] = [Kind::Registration, Kind::Login, Kind::Change, Kind::Reset];

/// A server with one hashing thread, and users.
struct Setup {
    server: TestServer,
    _database: Database,
    flooders_session: String,
    changers_session: String,
    /// The changer's password, and the next.
    passwords: [&'static str; 2],
    registered: usize,
}

impl Setup {
    async fn set(hash: Duration, max_wait: &str) -> Self {
        let database = Database::sqlite();
        let settings = [
            "--hash-threads=1",
            max_wait,
            // Longer than a busy machine needs.
            "--request-timeout=60s",
            "--reset-delivery=response",
            &Calibration::at_least(hash).await.setting(),
        ];
        let server = TestServer::start_with(&database, &settings).await;
        let client = &server.client;
        client.register(EMAIL, PASSWORD).await.unwrap();
        let [flooders_session, changers_session] = [FLOODER, CHANGER].map(async |email| {
            client.register(email, PASSWORD).await.unwrap();
            client.login(email, PASSWORD).await.unwrap().session_id
        });
        Self {
            flooders_session: flooders_session.await,
            changers_session: changers_session.await,
            passwords: [PASSWORD, NEW_PASSWORD],
            registered: 0,
            server,
            _database: database,
        }
    }

    async fn flood(&self, kind: Kind, callers: usize) -> Flood {
        let session_id = self.flooders_session.clone();
        Flood::start(self.server.address, callers, move |client| {
            call_without_effect(client, kind, session_id.clone())
        })
        .await
    }

    /// One successful call of another user.
    async fn call(&mut self, kind: Kind) -> Call {
        let client = &self.server.client;
        match kind {
            Kind::Registration => {
                self.registered += 1;
                let email = format!("user{}@example.com", self.registered);
                Call::make(client.register(&email, PASSWORD)).await
            }
            Kind::Login => Call::make(client.login(EMAIL, PASSWORD)).await,
            Kind::Reset => {
                let token = self.server.reset_token_in_reply().await;
                Call::make(client.reset_password(&token, PASSWORD)).await
            }
            Kind::Change => {
                let [current, next] = self.passwords;
                let mut session_id = self.changers_session.clone();
                let call = Call::make(async {
                    let changed = client.change_password(&session_id, current, next).await?;
                    session_id = changed.session_id;
                    Ok::<_, Status>(())
                })
                .await;
                (self.changers_session, self.passwords) = (session_id, [next, current]);
                call
            }
        }
    }
}

/// A call that costs a hash and changes nothing, so that it can be repeated.
async fn call_without_effect(client: Client, kind: Kind, session_id: String) -> Result<(), Status> {
    match kind {
        Kind::Registration => client.register(FLOODER, PASSWORD).await.map(drop),
        Kind::Login => client.login(FLOODER, NEW_PASSWORD).await.map(drop),
        Kind::Change => {
            let changed = client.change_password(&session_id, NEW_PASSWORD, PASSWORD);
            changed.await.map(drop)
        }
        Kind::Reset => unreachable!("each reset takes its own token"),
    }
}

/// A call does not queue behind a flood of another kind: many calls queued before it are
/// still queued after its reply, although a change computes two hashes.
async fn others_overtake_a_flood_of(kind: Kind) {
    let mut setup = Setup::set(Duration::from_millis(20), "--hash-max-wait=30s").await;
    let flood = setup.flood(kind, 64).await;
    flood.until(|flood| !flood.served().contains(&0)).await;
    for _ in 0..2 {
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            let before = flood.served();
            let call = setup.call(other).await;
            assert!(call.is_served(), "{other:?}: {call:?}");
            let after = flood.served();
            let overtaken = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| before == after);
            let overtaken = overtaken.count();
            assert!(overtaken >= 16, "{other:?} overtook {overtaken} of 64");
        }
    }
    assert_eq!(flood.refusals(), 0, "refused calls do not queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_is_overtaken() {
    others_overtake_a_flood_of(Kind::Login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_registrations_is_overtaken() {
    others_overtake_a_flood_of(Kind::Registration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_changes_is_overtaken() {
    others_overtake_a_flood_of(Kind::Change).await;
}

/// A partly refused flood does not cause refusals of other kinds.
async fn no_other_kind_is_refused_in_a_flood_of(kind: Kind) {
    // Far longer than a hash, to allow for a busy machine.
    let mut setup = Setup::set(Duration::from_millis(100), "--hash-max-wait=5s").await;
    let flood = setup.flood(kind, 320).await;
    flood.until(|flood| flood.refusals() > 0).await;
    for _ in 0..2 {
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            let before = flood.refusals();
            let call = setup.call(other).await;
            assert!(call.is_served(), "{other:?}: {call:?}");
            let refused = flood.refusals() > before;
            assert!(refused, "no call was refused");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_causes_no_other_refusals() {
    no_other_kind_is_refused_in_a_flood_of(Kind::Login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_registrations_causes_no_other_refusals() {
    no_other_kind_is_refused_in_a_flood_of(Kind::Registration).await;
}

/// Callers on one connection that retry as soon as they are refused keep the queue full:
/// others are served, if need be at a retry.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_one_connection_leaves_others_served() {
    // Less than the wait of a full connection's calls.
    let setup = Setup::set(Duration::from_millis(50), "--hash-max-wait=400ms").await;
    let flooding = Client::connect(setup.server.address).await;
    let refusals = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..64 {
        let (client, refusals) = (flooding.clone(), Arc::clone(&refusals));
        flood.spawn(async move {
            loop {
                if !Call::make(client.login(FLOODER, NEW_PASSWORD))
                    .await
                    .is_served()
                {
                    refusals.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    eventually("100 refusals", async || {
        refusals.load(Ordering::Relaxed) >= 100
    })
    .await;
    let mut tries = Vec::new();
    for _ in 0..6 {
        let mut own = 1;
        // The machine may be busy, too.
        while let Some(retry_after) = log_in(&setup.server.client).await.retry_after() {
            assert!(
                own < 8,
                "a login was refused {own} times; before it, they took {tries:?}"
            );
            own += 1;
            sleep(retry_after).await;
        }
        tries.push(own);
    }
    assert!(
        flood.try_join_next().is_none(),
        "the flood had an unexpected reply"
    );
}

async fn log_in(client: &Client) -> Call {
    Call::make(client.login(EMAIL, PASSWORD)).await
}
