//! A mail with a reset token does not lie in the outbox for ever; everything else there
//! stays.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, TestServer, on_each_database, outbox::mails_in,
};

/// The files of an outbox that stay, whatever their time.
const OF_OTHERS: [&str; 5] = [
    "notes.txt",
    "notes-expires-20200101T000000Z.eml",
    "20200101T000000.000000Z-0123456789abcdef0123456789abcdef.eml",
    "20200101T000000.000000Z-0123456789abcdef0123456789abcdef-expires-20200101T001000Z.eml.bak",
    "20200101T000000.000000Z-0123456789ABCDEF0123456789abcdef-expires-20200101T001000Z.eml",
];

/// As an earlier process left them: a whole mail, and one that it was writing.
const EXPIRED: [&str; 2] = [
    "20200101T000000.000000Z-0123456789abcdef0123456789abcdef-expires-20200101T001000Z.eml",
    ".20200101T000000.000000Z-0123456789abcdef0123456789abcdef-expires-20200101T001000Z.tmp",
];

async fn gone(path: &Path) {
    timeout(Duration::from_secs(20), async {
        while path.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} stays", path.display()));
}

/// Waits until the outbox has been looked through since now.
async fn swept(outbox: &Path) {
    for name in EXPIRED {
        fs::write(outbox.join(name), "a secret of long ago").unwrap();
    }
    for name in EXPIRED {
        gone(&outbox.join(name)).await;
    }
}

/// The one mail with a reset token.
fn reset_mail(outbox: &Path) -> PathBuf {
    let mut mails = mails_in(outbox).into_iter().filter(|path| {
        path.is_file() && fs::read_to_string(path).unwrap().contains("reset_token=")
    });
    let mail = mails.next().expect("a mail with a token");
    assert_eq!(mails.next(), None);
    mail
}

on_each_database! {
    async fn a_mail_with_an_expired_token_is_removed(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox");
        let setting = format!("--outbox={}", outbox.display());
        let settings = ["--session-sweep=10ms", "--reset-ttl=10m", &setting];
        let server = TestServer::start_with(&database, &settings).await;
        let clock = server.clock.clone();
        server.register().await;
        let session_id = server.login().await.session_id;
        server.client.change_password(&session_id, PASSWORD, NEW_PASSWORD).await.unwrap();
        server.client.request_password_reset(EMAIL).await.unwrap();
        let both = async {
            while mails_in(&outbox).len() < 2 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), both).await.expect("two mails");
        for name in OF_OTHERS {
            fs::write(outbox.join(name), "not the service's").unwrap();
        }
        let folder_of_others = outbox.join(EXPIRED[0].replace("0123", "4567"));
        fs::create_dir(&folder_of_others).unwrap();
        let mail = reset_mail(&outbox);

        // Good until its minute, gone after it.
        clock.advance(Duration::from_secs(9 * 60));
        swept(&outbox).await;
        assert!(mail.exists());
        clock.advance(Duration::from_secs(2 * 60));
        gone(&mail).await;

        // What one process leaves, the next one removes.
        server.client.request_password_reset(EMAIL).await.unwrap();
        let again = async {
            // Beside the notice, and four that are others'.
            while mails_in(&outbox).len() < 2 + 4 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), again).await.expect("another mail");
        let mail = reset_mail(&outbox);
        server.stop().await;
        assert!(mail.exists());
        clock.advance(Duration::from_secs(3_600));
        let server = TestServer::start_at_time(database.url(), &settings, clock).await;
        gone(&mail).await;

        swept(&outbox).await;
        server.stop().await;
        for name in OF_OTHERS {
            assert!(outbox.join(name).exists(), "{name} is gone");
        }
        assert!(folder_of_others.exists());
        let notices = mails_in(&outbox).into_iter().filter(|path| {
            path.is_file() && fs::read_to_string(path).unwrap().contains("Your password was changed")
        });
        assert_eq!(notices.count(), 1, "a mail without a secret stays");
    }
}
