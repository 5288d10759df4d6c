//! What callers of the admin API did, and what the daemon did by itself to what is theirs, as it is kept for an operator.

use super::codes::codes;

codes! {
    /// An act.
    Act {
        ImportAccount = 1 "import_account",
        SetUser = 2 "set_user",
        ForgetAccount = 3 "forget_account",
        Claim = 4 "claim",
        GiveToken = 5 "give_access_token",
        BackUp = 6 "back_up",
        Compact = 7 "compact",
        Reload = 8 "reload",
        AcceptRestored = 9 "accept_restored",
        PauseQueue = 10 "pause_queue",
        ResumeQueue = 11 "resume_queue",
        RemoveQueue = 12 "remove_queue",
        ReplayLetters = 13 "replay_dead_letters",
        DropLetters = 14 "drop_dead_letters",
        RotateKeys = 15 "rotate_keys",
        /// It was not done, because the caller has no right to it.
        Refused = 16 "refused",
        DisconnectAccount = 17 "disconnect_account",
        ExportAccount = 18 "export_account",
        AnnounceTestEvent = 32 "announce_test_event",
    }
}
codes! {
    /// Acts that are bounded together: what happens by the thousand pushes nothing else out.
    Kind {
        Change = 1 "change",
        Import = 2 "import",
        Token = 3 "token",
        Refusal = 4 "refusal",
    }
}

impl Act {
    pub fn kind(self) -> Kind {
        match self {
            Self::ImportAccount | Self::Claim => Kind::Import,
            Self::GiveToken => Kind::Token,
            Self::Refused => Kind::Refusal,
            _ => Kind::Change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_and_names_differ() {
        let names: std::collections::BTreeSet<_> = Act::ALL.iter().map(|act| act.as_str()).collect();
        assert_eq!(names.len(), Act::ALL.len());
        for act in Act::ALL {
            assert_eq!(Act::of_code(*act as u8), Some(*act));
        }
        assert_eq!(Act::of_code(0), None);
    }
}
