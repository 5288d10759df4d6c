//! What a caller of the admin API may do and see: rights belong to the socket it came through.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::domain::ids::QueueName;
use crate::domain::routing::Selection;

/// Everything that can be asked of the admin API, as rights are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Status,
    AccountsRead,
    AccountsWrite,
    AccountsExport,
    QueueRead,
    QueueTail,
    QueueManage,
    DeadLettersRead,
    DeadLettersWrite,
    Keys,
    Metrics,
    TokensLend,
    TokensManage,
    LinksClaim,
    Backup,
    Compact,
    Reload,
    Inspect,
    Audit,
    Certify,
}

impl Call {
    pub const ALL: [Self; 20] = [
        Self::Status,
        Self::AccountsRead,
        Self::AccountsWrite,
        Self::AccountsExport,
        Self::QueueRead,
        Self::QueueTail,
        Self::QueueManage,
        Self::DeadLettersRead,
        Self::DeadLettersWrite,
        Self::Keys,
        Self::Metrics,
        Self::TokensLend,
        Self::TokensManage,
        Self::LinksClaim,
        Self::Backup,
        Self::Compact,
        Self::Reload,
        Self::Inspect,
        Self::Audit,
        Self::Certify,
    ];

    /// The name in a configuration: `group.what`, or one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::AccountsRead => "accounts.read",
            Self::AccountsWrite => "accounts.write",
            Self::AccountsExport => "accounts.export",
            Self::QueueRead => "queue.read",
            Self::QueueTail => "queue.tail",
            Self::QueueManage => "queue.manage",
            Self::DeadLettersRead => "dead-letters.read",
            Self::DeadLettersWrite => "dead-letters.write",
            Self::Keys => "keys",
            Self::Metrics => "metrics",
            Self::TokensLend => "tokens.lend",
            Self::TokensManage => "tokens.manage",
            Self::LinksClaim => "links.claim",
            Self::Backup => "backup",
            Self::Compact => "compact",
            Self::Reload => "reload",
            Self::Inspect => "inspect",
            Self::Audit => "audit",
            Self::Certify => "certify",
        }
    }
}

/// Why a text can't be a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GrantError {
    #[error("is not a call or a group of calls")]
    Unknown,
    #[error("can't be narrowed: only queue.read, queue.tail, queue.manage and queue.* can")]
    NotNarrowable,
    #[error("names no possible queue after the colon")]
    BadQueue,
}

/// One right: some calls, possibly on one queue only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    calls: Vec<Call>,
    queue: Option<QueueName>,
}

impl Grant {
    /// Reads `*`, a call, a group such as `queue.*`, or a queue call narrowed to one queue: `queue.read:NAME`.
    ///
    /// # Errors
    /// [`GrantError`] when it is none of these.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let (name, queue) = match text.split_once(':') {
            Some((name, queue)) => (name, Some(queue)),
            None => (text, None),
        };
        // A prefix must end at a dot, so that a call added later never falls into a group by its spelling.
        let group = name.strip_suffix('*').filter(|g| g.is_empty() || g.ends_with('.'));
        let named = |call: &Call| {
            call.as_str() == name || group.is_some_and(|group| call.as_str().starts_with(group))
        };
        let calls: Vec<Call> = Call::ALL.into_iter().filter(named).collect();
        if calls.is_empty() {
            return Err(GrantError::Unknown);
        }
        if queue.is_some() && !calls.iter().all(|call| call.as_str().starts_with("queue.")) {
            return Err(GrantError::NotNarrowable);
        }
        let queue = queue.map(|name| QueueName::new(name).ok_or(GrantError::BadQueue)).transpose()?;
        Ok(Self { calls, queue })
    }

    fn covers(&self, call: Call, queue: Option<&QueueName>) -> bool {
        self.calls.contains(&call) && (self.queue.is_none() || self.queue.as_ref() == queue)
    }
}

/// The rights of one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    grants: Vec<Grant>,
    accounts: Selection,
    users: Selection,
}

impl Rights {
    pub fn new(grants: Vec<Grant>, accounts: Selection, users: Selection) -> Self {
        Self { grants, accounts, users }
    }

    /// Every call, for every account.
    pub fn all() -> Self {
        let everything = Grant { calls: Call::ALL.to_vec(), queue: None };
        Self::new(vec![everything], Selection::All, Selection::All)
    }

    /// Whether `call` may be made, on `queue` where the call is about one. A right narrowed to
    /// a queue says nothing about a call that names none.
    pub fn allows(&self, call: Call, queue: Option<&QueueName>) -> bool {
        self.grants.iter().any(|grant| grant.covers(call, queue))
    }

    /// The calls that are allowed, as a configuration names them: `status`, `queue.read:NAME`.
    pub fn named(&self) -> BTreeSet<String> {
        let of = |grant: &Grant| {
            let queue = grant.queue.as_ref().map(|queue| format!(":{queue}")).unwrap_or_default();
            grant.calls.iter().map(|call| format!("{}{queue}", call.as_str())).collect::<Vec<_>>()
        };
        self.grants.iter().flat_map(of).collect()
    }

    /// Whose accounts are seen.
    pub fn accounts(&self) -> &Selection {
        &self.accounts
    }

    /// Whose users' events and accounts are seen.
    pub fn users(&self) -> &Selection {
        &self.users
    }

    /// Whether everything is seen that `other` sees.
    pub fn sees_all_of(&self, other: &Self) -> bool {
        self.accounts.holds_all_of(&other.accounts) && self.users.holds_all_of(&other.users)
    }

    /// Whether something that belongs to `account` and `user` may be seen. What belongs to no
    /// account, or to nobody yet, is seen only where that side is not restricted.
    pub fn sees(&self, account: Option<&str>, user: Option<&str>) -> bool {
        self.accounts.holds(account) && self.users.holds(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(grants: &[&str]) -> Rights {
        let grants = grants.iter().map(|text| Grant::parse(text).unwrap()).collect();
        Rights::new(grants, Selection::All, Selection::All)
    }

    fn allowed(rights: &Rights, queue: Option<&str>) -> Vec<&'static str> {
        let queue = queue.map(|name| QueueName::new(name).unwrap());
        let calls = Call::ALL.into_iter().filter(|call| rights.allows(*call, queue.as_ref()));
        calls.map(Call::as_str).collect()
    }

    #[test]
    fn a_right_covers_what_it_names_and_no_more() {
        assert_eq!(allowed(&rights(&["*"]), None), Call::ALL.map(Call::as_str));
        assert_eq!(allowed(&Rights::all(), Some("q")), Call::ALL.map(Call::as_str));
        assert_eq!(allowed(&rights(&["status"]), None), ["status"]);
        assert_eq!(
            allowed(&rights(&["queue.*", "keys"]), None),
            ["queue.read", "queue.tail", "queue.manage", "keys"]
        );
        assert_eq!(allowed(&rights(&[]), None), [""; 0]);
    }

    #[test]
    fn a_narrowed_right_holds_for_its_queue_only() {
        let narrowed = rights(&["queue.read:orders", "queue.*:mine"]);
        assert_eq!(allowed(&narrowed, Some("orders")), ["queue.read"]);
        assert_eq!(allowed(&narrowed, Some("mine")), ["queue.read", "queue.tail", "queue.manage"]);
        assert_eq!(allowed(&narrowed, Some("other")), [""; 0]);
        assert_eq!(allowed(&narrowed, None), [""; 0]);
        let named = ["queue.manage:mine", "queue.read:mine", "queue.read:orders", "queue.tail:mine"];
        assert!(narrowed.named().iter().eq(named));
    }

    #[test]
    fn every_call_can_be_given_by_its_own_name() {
        for call in Call::ALL {
            assert_eq!(allowed(&rights(&[call.as_str()]), None), [call.as_str()]);
        }
    }

    #[test]
    fn what_is_no_right_is_refused() {
        for (text, error) in [
            ("", GrantError::Unknown),
            ("queue", GrantError::Unknown),
            ("queue*", GrantError::Unknown),
            ("que*", GrantError::Unknown),
            ("queue.read*", GrantError::Unknown),
            ("Queue.read", GrantError::Unknown),
            ("secrets.*", GrantError::Unknown),
            ("status:orders", GrantError::NotNarrowable),
            ("*:orders", GrantError::NotNarrowable),
            ("queue.read:", GrantError::BadQueue),
            ("queue.read:a/b", GrantError::BadQueue),
        ] {
            assert_eq!(Grant::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn accounts_and_users_must_both_agree() {
        let only = |id: &str| Selection::Only([Box::from(id)].into());
        let both = Rights::new(vec![], only("a1"), only("ann"));
        assert!(both.sees(Some("a1"), Some("ann")));
        assert!(!both.sees(Some("a1"), Some("bob")));
        assert!(!both.sees(Some("a2"), Some("ann")));
        assert!(!both.sees(Some("a1"), None));
        assert!(!both.sees(None, Some("ann")));
        assert!(Rights::all().sees(None, None));
        assert!(
            Rights::all().sees_all_of(&both) && both.sees_all_of(&both) && !both.sees_all_of(&Rights::all())
        );
        let moved = Rights::new(vec![], only("a1"), only("bob"));
        assert!(!moved.sees_all_of(&both));
        let two = Selection::Only([Box::from("ann"), Box::from("bob")].into());
        assert!(Rights::new(vec![], Selection::All, two).sees_all_of(&moved));
    }
}
