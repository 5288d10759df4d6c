//! What an answer means that is not the daemon's: the front gave it, and what to do there.

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub words: String,
    pub action: &'static str,
}

/// The fault behind a status that the daemon does not give there; none where the status alone does not tell.
pub fn fault(status: u16) -> Option<Fault> {
    let (words, action) = match status {
        404 => (
            "nothing is there (404), and Ring never sends an event again after a 404".to_owned(),
            "have the front pass this path on to the daemon as it is",
        ),
        300..=399 => (
            format!("it leads elsewhere ({status}), and Ring's POST does not follow"),
            "register the address that it leads to, or have the front pass the path on",
        ),
        403 => (
            "the front lets it not through (403), and Ring never sends an event again after a 403".to_owned(),
            "take the sign-in, the bot check or the list of addresses before this path away: Ring has no list of addresses that it comes from",
        ),
        413 => (
            "the front takes no body of this size (413)".to_owned(),
            "set the front's limit above [webhook] max_body",
        ),
        504 => (
            "the front waits for the daemon in vain (504)".to_owned(),
            "look whether the daemon runs, and whether the front waits for it 5 s at least",
        ),
        500..=599 => (
            format!("the front does not reach the daemon ({status})"),
            "look at the front's log, and whether the daemon runs and listens where the front looks for it",
        ),
        _ => return None,
    };
    Some(Fault { words, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_itself_answers_is_no_fault_of_a_front() {
        for status in [200, 201, 400, 401, 405] {
            assert_eq!(fault(status), None, "{status}");
        }
        for status in [301, 308, 403, 404, 413, 502, 504] {
            assert!(fault(status).unwrap().words.contains(&status.to_string()), "{status}");
        }
    }
}
