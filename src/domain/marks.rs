//! What intake or delivery found worth telling about an event.

use super::flags::flags;

flags! {
    /// What intake or delivery found worth telling about an event.
    Mark,
    /// The marks of one event.
    Marks {
        /// Sent longer ago than Ring's retries take: a replay, or a clock is wrong.
        Late = "late",
        /// Sent after it was received, further than clocks may differ.
        Early = "early",
        /// Its request id came before with other `data`, or of another account.
        Conflict = "conflict",
        /// It had no usable request id; its id is a hash of the body.
        HashedId = "hashed-id",
        /// It names no account, and none was found.
        NoAccount = "no-account",
        /// Its account was found through the device.
        AccountByDevice = "account-by-device",
        /// It waited until its account was claimed.
        Held = "held",
        /// It comes back from dead letters.
        Replayed = "replayed",
        /// It is ringhookd's own, not Ring's.
        Own = "own",
    }
}
