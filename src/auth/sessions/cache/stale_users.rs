//! The users whose cached details must not be used before they have been dropped.

use std::{
    collections::HashSet,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::domain::UserId;

#[derive(Default)]
pub(super) struct StaleUsers {
    users: RwLock<HashSet<UserId>>,
    /// Saves every look-up the lock while there are none.
    is_any: AtomicBool,
}

impl StaleUsers {
    pub(super) fn mark(&self, user_id: UserId) {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.insert(user_id);
        drop(users);
        self.is_any.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn contains(&self, user_id: UserId) -> bool {
        self.is_any.load(Ordering::SeqCst) && self.read().contains(&user_id)
    }

    /// Passes the users to `drop_details` and unmarks them afterwards. No details of them may
    /// be inserted in the meantime, so this is right even for users marked once more.
    pub(super) fn unmark_after(&self, drop_details: impl FnOnce(&HashSet<UserId>)) {
        if !self.is_any.load(Ordering::SeqCst) {
            return;
        }
        let dropped = self.read().clone();
        drop_details(&dropped);
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.retain(|user_id| !dropped.contains(user_id));
        self.is_any.store(!users.is_empty(), Ordering::SeqCst);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashSet<UserId>> {
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }
}
