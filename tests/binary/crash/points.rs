//! The fail points of the source by what brings the daemon there, each of which is fired.

/// Passed while events come in, are claimed and leave.
pub(crate) const UNDER_LOAD: &[&str] = &[
    "intake.verified",
    "intake.kept",
    "store.before_commit",
    "wal.written",
    "wal.synced",
    "wal.checkpoint",
    "wal.restarted",
    "store.committed",
    "store.settled",
    "store.releasing",
    "spool.written",
    "spool.renamed",
    "delivery.delivered",
];

/// Passed by a start that makes its store, and once it serves, in this order.
pub(crate) const CREATING: &[&str] = &[
    "create.marked",
    "create.identified",
    "create.half_a_key",
    "create.key",
    "create.tables",
    "create.filled",
    "create.unmarked",
    "daemon.prepared",
    "tokens.planning",
];

/// Passed by each refresh of tokens, in this order.
pub(crate) const REFRESHING: &[&str] =
    &["refresh.intent", "refresh.guarded", "refresh.answered", "refresh.recorded"];

/// Passed by each refresh token that comes without its account, in this order.
pub(crate) const ARRIVING: &[&str] = &["arrival.noted", "arrival.known"];

/// Passed by each authorization code, in this order.
pub(crate) const CODES: &[&str] =
    &["code.kept", "code.sending", "code.answered", "code.recorded", "arrival.known"];

/// Passed by each claim, in this order.
pub(crate) const CLAIMING: &[&str] =
    &["claim.taken", "claim.posting", "claim.posted", "claim.patching", "claim.patched"];

/// Passed by each account that is disconnected, in this order.
pub(crate) const DISCONNECTING: &[&str] = &["disconnect.pausing", "disconnect.paused"];

/// Passed while events leave a queue by its bounds.
pub(crate) const EXPIRING: &str = "store.expiring";

/// Passed while data keys are put under another master key.
pub(crate) const REWRAPPING: &str = "store.rewrapping";

/// Passed while the receipts of a forgotten account are erased.
pub(crate) const ERASING: &str = "store.erasing_receipts";

/// Passed by each backup, in this order.
pub(crate) const BACKING_UP: &[&str] = &["backup.rows", "backup.written", "backup.checked"];

/// Passed by each restore.
pub(crate) const RESTORING: &[&str] =
    &["create.marked", "create.identified", "restore.copied", "create.filled"];

/// Passed by each compaction, in this order.
pub(crate) const COMPACTING: &[&str] =
    &["compact.copied", "compact.level", "compact.ready", "compact.renamed"];

/// Passed by each reload that changes the store, in this order.
pub(crate) const RELOADING: &[&str] = &["reload.prepared", "store.reconfigured", "reload.stored"];
