//! Tests of the history checker, with correct and incorrect histories.

use std::time::Duration;

use crate::harness::history::{Operation, Outcome, Report, Request, Rules, check};

const RULES: Rules = Rules {
    bound: Duration::from_millis(1_000),
    faults: false,
};

const A: usize = 0;
const B: usize = 1;

const USER: usize = 7;

/// A call on a node from one millisecond to another one.
fn call(node: usize, began: u64, ended: u64, request: Request, outcome: Outcome) -> Operation {
    Operation {
        node,
        began: Duration::from_millis(began),
        ended: Duration::from_millis(ended),
        request,
        outcome,
    }
}

fn login(node: usize, began: u64, ended: u64, version: u32, opened: usize) -> Operation {
    let request = Request::Login {
        user: USER,
        version,
        opened: Some(opened),
    };
    call(node, began, ended, request, Outcome::Done)
}

fn good(node: usize, began: u64, ended: u64, session: usize) -> Operation {
    call(
        node,
        began,
        ended,
        Request::Check { session },
        Outcome::Done,
    )
}

fn refused(node: usize, began: u64, ended: u64, session: usize) -> Operation {
    let request = Request::Check { session };
    call(node, began, ended, request, Outcome::SessionInvalid)
}

fn logout(node: usize, began: u64, ended: u64, session: usize, outcome: Outcome) -> Operation {
    call(node, began, ended, Request::Logout { session }, outcome)
}

fn revoke_others(node: usize, began: u64, ended: u64, by: usize, outcome: Outcome) -> Operation {
    let request = Request::RevokeOthers { user: USER, by };
    call(node, began, ended, request, outcome)
}

fn change(node: usize, began: u64, ended: u64, by: usize, opened: usize) -> Operation {
    let request = Request::ChangePassword {
        user: USER,
        version: 0,
        by,
        opened: Some(opened),
    };
    call(node, began, ended, request, Outcome::Done)
}

#[track_caller]
fn is_good(operations: &[Operation]) -> Report {
    let report = check(operations, RULES);
    assert_eq!(report.violations, [""; 0]);
    report
}

/// Expects one violation, with and without faults.
#[track_caller]
fn is_bad(operations: &[Operation], why: &str) {
    for faults in [false, true] {
        let report = check(operations, Rules { faults, ..RULES });
        let violations = &report.violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].contains(why), "{violations:?}");
    }
}

#[test]
fn a_session_from_login_to_logout_is_correct() {
    is_good(&[
        login(A, 0, 10, 0, 1),
        good(A, 10, 11, 1),
        good(B, 10, 11, 1),
        // During the logout, either reply is correct on either node.
        logout(A, 100, 110, 1, Outcome::Done),
        good(A, 99, 111, 1),
        refused(A, 90, 101, 1),
        good(B, 105, 106, 1),
        refused(A, 110, 111, 1),
        refused(B, 110, 111, 1),
    ]);
}

#[test]
fn the_revoking_node_has_no_lag() {
    let mut history = vec![login(A, 0, 10, 0, 1), logout(A, 20, 30, 1, Outcome::Done)];
    history.push(good(A, 30, 40, 1));
    is_good(&history);
    history.push(good(A, 31, 40, 1));
    is_bad(&history, "by a node that has reported its end");
}

#[test]
fn other_nodes_may_lag_up_to_the_bound() {
    let mut history = vec![login(A, 0, 10, 0, 1), logout(A, 20, 30, 1, Outcome::Done)];
    history.push(good(B, 1_030, 1_031, 1));
    let report = is_good(&history);
    assert_eq!(report.worst_staleness, RULES.bound);
    assert_eq!((report.checks_of_ended, report.checks_within_bound), (1, 1));
    history.push(good(B, 1_031, 1_032, 1));
    is_bad(&history, "accepted 1.001s after its end");
}

#[test]
fn a_slow_reply_counts_from_its_beginning() {
    is_good(&[
        login(A, 0, 10, 0, 1),
        good(B, 15, 9_000, 1),
        logout(A, 20, 30, 1, Outcome::Done),
    ]);
}

#[test]
fn an_open_session_is_not_refused() {
    let history = [
        login(A, 0, 10, 0, 1),
        login(A, 0, 10, 0, 2),
        refused(B, 10, 20, 1),
        logout(A, 20, 30, 1, Outcome::Done),
        logout(A, 5, 9, 2, Outcome::Done),
    ];
    is_bad(&history, "refused without a revocation");
}

#[test]
fn a_refused_session_is_not_accepted_again() {
    let mut history = vec![
        login(A, 0, 10, 0, 1),
        // The outcome of the logout is unknown.
        logout(A, 20, 30, 1, Outcome::Unavailable),
        good(A, 31, 40, 1),
        refused(A, 50, 60, 1),
        good(B, 1_060, 1_061, 1),
    ];
    let faults = Rules {
        faults: true,
        ..RULES
    };
    assert_eq!(check(&history, faults).violations, [""; 0]);
    let without = check(&history, RULES).violations;
    assert!(
        without[0].contains("unavailable without a fault"),
        "{without:?}"
    );
    for again in [good(A, 61, 62, 1), good(B, 1_061, 1_062, 1)] {
        history.push(again);
        assert_eq!(check(&history, faults).violations.len(), 1);
        history.pop();
    }
}

#[test]
fn a_call_refused_by_the_database_leaves_its_node_the_bound() {
    let mut history = vec![
        login(A, 0, 10, 0, 1),
        logout(A, 20, 30, 1, Outcome::Done),
        logout(B, 40, 50, 1, Outcome::SessionInvalid),
        good(B, 60, 61, 1),
    ];
    is_good(&history);
    history.insert(2, refused(B, 40, 50, 1));
    is_bad(&history, "by a node that has reported its end");
}

#[test]
fn revoking_others_keeps_the_callers_session() {
    let mut history = vec![
        login(A, 0, 10, 0, 1),
        login(A, 0, 10, 0, 2),
        // Opened at the same time, possibly too late to be revoked.
        login(B, 15, 25, 0, 3),
        login(B, 15, 25, 0, 4),
        login(B, 40, 50, 0, 5),
        revoke_others(A, 20, 30, 1, Outcome::Done),
        good(A, 40, 41, 1),
        refused(A, 40, 41, 2),
        good(A, 40, 41, 3),
        refused(A, 40, 41, 4),
    ];
    is_good(&history);
    for (bad, why) in [
        (good(A, 31, 40, 2), "by a node that has reported its end"),
        (good(B, 1_031, 1_040, 2), "accepted 1.001s"),
        (refused(A, 40, 41, 1), "refused without a revocation"),
        (refused(A, 60, 61, 5), "refused without a revocation"),
    ] {
        history.push(bad);
        is_bad(&history, why);
        history.pop();
    }
}

#[test]
fn a_change_ends_the_sessions_of_the_former_password() {
    let mut history = vec![
        login(A, 0, 10, 0, 1),
        change(A, 20, 30, 1, 3),
        // Accepted before the change, with the reply after it.
        login(B, 15, 45, 0, 2),
        login(B, 60, 70, 1, 4),
        refused(A, 50, 51, 1),
        refused(A, 50, 51, 2),
        good(A, 50, 51, 3),
        good(A, 80, 81, 4),
    ];
    is_good(&history);
    let former = Request::Login {
        user: USER,
        version: 0,
        opened: None,
    };
    let unknown = Request::Login {
        user: USER,
        version: 1,
        opened: None,
    };
    for (bad, why) in [
        (good(A, 46, 47, 2), "by a node that has reported its end"),
        (good(B, 1_031, 1_032, 2), "accepted 1.001s"),
        (refused(A, 50, 51, 3), "refused without a revocation"),
        (refused(A, 80, 81, 4), "refused without a revocation"),
        (
            call(A, 31, 32, former.clone(), Outcome::Done),
            "with a former password",
        ),
        (
            call(A, 31, 32, unknown, Outcome::InvalidCredentials),
            "the password is right",
        ),
        (
            call(A, 15, 20, former.clone(), Outcome::InvalidCredentials),
            "the password is right",
        ),
    ] {
        history.push(bad);
        is_bad(&history, why);
        history.pop();
    }
    history.push(call(A, 31, 32, former, Outcome::InvalidCredentials));
    is_good(&history);
}

#[test]
fn an_ended_session_changes_nothing() {
    for acts in [
        revoke_others(B, 31, 40, 1, Outcome::Done),
        change(B, 31, 40, 1, 2),
    ] {
        let history = [
            login(A, 0, 10, 0, 1),
            logout(A, 20, 30, 1, Outcome::Done),
            acts,
        ];
        is_bad(&history, "an ended session has made a change");
    }
}

#[test]
fn a_session_ends_once() {
    let history = [
        login(A, 0, 10, 0, 1),
        logout(A, 20, 30, 1, Outcome::Done),
        logout(B, 20, 30, 1, Outcome::Done),
    ];
    is_bad(&history, "logged out 2 times");
}

#[test]
fn unexpected_replies_and_unknown_sessions_are_found() {
    let other = Outcome::Other("INTERNAL".to_owned());
    for outcome in [other, Outcome::Overloaded, Outcome::InvalidCredentials] {
        let check = call(A, 20, 30, Request::Check { session: 1 }, outcome);
        is_bad(&[login(A, 0, 10, 0, 1), check], "an unexpected reply");
    }
    is_bad(&[good(A, 0, 10, 9)], "without a login");
}
