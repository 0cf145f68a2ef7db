//! Mails with an expired reset token are removed from the outbox folder; other files stay.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, TestServer, eventually, on_each_database,
    outbox::mails_in,
};

/// Foreign files, which stay at any age.
const FOREIGN: [&str; 5] = [
    "notes.txt",
    "notes-expires-20200101T000000Z.eml",
    "20200101T000000.000000Z-0123456789abcdef0123456789abcdef.eml",
    "20200101T000000.000000Z-0123456789abcdef0123456789abcdef-expires-20200101T001000Z.eml.bak",
    "20200101T000000.000000Z-0123456789ABCDEF0123456789abcdef-expires-20200101T001000Z.eml",
];

/// Files of an earlier process: a complete mail, and a partly written one.
const EXPIRED: [&str; 2] = [
    "20200101T000000.000000Z-0123456789abcdef0123456789abcdef-expires-20200101T001000Z.eml",
    ".20200101T000000.000000Z-0123456789abcdef0123456789abcdef-expires-20200101T001000Z.tmp",
];

async fn until_removed(path: &Path) {
    eventually(format!("{} is removed", path.display()), async || {
        !path.exists()
    })
    .await;
}

/// Waits for the next sweep of the outbox.
async fn until_swept(outbox: &Path) {
    for name in EXPIRED {
        fs::write(outbox.join(name), "a secret of long ago").unwrap();
    }
    for name in EXPIRED {
        until_removed(&outbox.join(name)).await;
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
        eventually("two mails", async || mails_in(&outbox).len() >= 2).await;
        for name in FOREIGN {
            fs::write(outbox.join(name), "not the service's").unwrap();
        }
        let foreign_folder = outbox.join(EXPIRED[0].replace("0123", "4567"));
        fs::create_dir(&foreign_folder).unwrap();
        let mail = reset_mail(&outbox);

        // Kept until its expiry, removed after it.
        clock.advance(Duration::from_secs(9 * 60));
        until_swept(&outbox).await;
        assert!(mail.exists());
        clock.advance(Duration::from_secs(2 * 60));
        until_removed(&mail).await;

        // Files of a stopped process are removed by the next.
        server.client.request_password_reset(EMAIL).await.unwrap();
        // Besides the notice and four foreign files.
        eventually("another mail", async || mails_in(&outbox).len() >= 2 + 4).await;
        let mail = reset_mail(&outbox);
        server.stop().await;
        assert!(mail.exists());
        clock.advance(Duration::from_secs(3_600));
        let server = TestServer::start_at_time(database.url(), &settings, clock).await;
        until_removed(&mail).await;

        until_swept(&outbox).await;
        server.stop().await;
        for name in FOREIGN {
            assert!(outbox.join(name).exists(), "{name} was removed");
        }
        assert!(foreign_folder.exists());
        let notices = mails_in(&outbox).into_iter().filter(|path| {
            path.is_file() && fs::read_to_string(path).unwrap().contains("Your password was changed")
        });
        assert_eq!(notices.count(), 1, "a mail without a secret stays");
    }
}
