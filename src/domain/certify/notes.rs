//! Drafts of the three notes that Ring asks for with a certification, and whether a note has the length that Ring takes.

use std::time::Duration;

use super::judge::seconds;
use super::report::Address;
use crate::domain::doctor::Finding;

const NOTES: &str = "notes";
/// Characters that Ring takes.
const LENGTH: (usize, usize) = (20, 4_000);
/// What stands in brackets is the partner's to write.
const OPEN: &str = "[FILL IN";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub name: &'static str,
    /// Of the file that it is written into.
    pub file: &'static str,
    pub text: String,
}

/// The drafts, with the addresses that are registered and the slowest answer that was measured.
pub fn notes(addresses: &[Address], slowest: Option<Duration>) -> [Note; 3] {
    [
        Note { name: "account creation", file: "note-account-creation.txt", text: creation() },
        Note { name: "account linking", file: "note-account-linking.txt", text: linking(addresses) },
        Note {
            name: "end-to-end test",
            file: "note-end-to-end-test.txt",
            text: end_to_end(addresses, slowest),
        },
    ]
}

fn creation() -> String {
    "An account with us is free of charge and takes about [FILL IN: minutes].\n\
     1. Open [FILL IN: https://www.example.com/sign-up].\n\
     2. Enter [FILL IN: an e-mail address and a password; no telephone number and no payment is asked for].\n\
     3. Confirm [FILL IN: the link in the e-mail that comes at once].\n\
     For the review an account is there already: [FILL IN: user name; the password is in the field for credentials]. It has no Ring account linked, \
     and can be used by several reviewers one after the other.\n"
        .to_owned()
}

fn linking(addresses: &[Address]) -> String {
    let listed = |address: &Address| format!("- {}: {}", address.name, address.url);
    let listed = addresses.iter().map(listed).collect::<Vec<_>>().join("\n");
    format!(
        "We use one-way account linking. The addresses that are registered, for staging and for production alike:\n{listed}\n\
         1. In the Ring app, add our app and choose the devices.\n\
         2. Ring's backend brings an authorization code to the Token Exchange URL, which answers 200 once the code is stored; it is exchanged at once.\n\
         3. The Ring app opens the Account Link URL with a nonce. It leads to our sign-in: sign in with [FILL IN: the account of the note on account creation].\n\
         4. We match the nonce to the Ring account, call app-integrations (POST, then PATCH completed), and show \"Your Ring account is linked. Return to the Ring app.\"\n\
         A link that is older than 10 minutes, or was used, is refused; begin again in the Ring app. To unlink, remove our app in the Ring app: \
         we then stop every call for the account and destroy its tokens. [FILL IN: where a user sees and ends the link in your own app.]\n"
    )
}

fn end_to_end(addresses: &[Address], slowest: Option<Duration>) -> String {
    let webhook = addresses.first().map_or("[FILL IN: the Webhook URL]", |address| address.url.as_str());
    let measured = slowest.map_or_else(String::new, |slowest| {
        format!(" Measured through the public name, the slowest answer came after {}.", seconds(slowest))
    });
    format!(
        "With a linked account (see the note on account linking):\n\
         1. Press the button of a doorbell, or walk past a camera.\n\
         2. Ring's webhook comes to {webhook}. Its signature is verified over the raw body (HMAC-SHA256, X-Signature), and it is answered 200 once it is on disk.{measured}\n\
         3. Within [FILL IN: seconds] you see [FILL IN: what the reviewer sees, and where].\n\
         Error paths: an event that comes twice is answered 200 and shown once; a forged signature is refused, and nothing of it is kept; if we can't store an event it is answered 503, \
         so that Ring sends it again. Remove the app in the Ring app: no event of the account is shown after that, and [FILL IN: what the user sees].\n"
    )
}

/// Whether Ring takes a note of this length, and whether it is finished.
pub fn sized(name: &str, file: &str, text: &str) -> Finding {
    let characters = text.trim().chars().count();
    let (least, most) = LENGTH;
    if !(least..=most).contains(&characters) {
        let words = format!("{name}: it has {characters} characters, and Ring takes {least} to {most}");
        return Finding::failed(NOTES, words).so(format!("write it anew in {file}"));
    }
    if text.contains(OPEN) {
        let words =
            format!("{name}: a draft of {characters} characters, in which something is to be filled in");
        return Finding::note(NOTES, words).so(format!("fill in what stands in brackets in {file}"));
    }
    Finding::well(NOTES, format!("{name}: {characters} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::State;

    #[test]
    fn the_drafts_have_the_length_that_ring_takes_and_say_that_they_are_drafts() {
        let long = "https://".to_owned() + &"x".repeat(300);
        let addresses = [Address { name: "Webhook URL", url: long }];
        for note in notes(&addresses, Some(Duration::from_millis(42))) {
            let found = sized(note.name, note.file, &note.text);
            assert_eq!(found.state, State::Note, "{found:?}");
            assert!(note.text.len() > 400 && !note.text.contains('\u{2014}'), "{}", note.text);
        }
        assert!(notes(&addresses, Some(Duration::from_millis(42)))[2].text.contains("0.042 s"));
    }

    #[test]
    fn a_note_is_counted_in_characters_as_ring_counts_them() {
        for (text, state) in [
            ("\u{e4}".repeat(20), State::Well),
            ("\u{e4}".repeat(19) + "\n", State::Failed),
            ("\u{e4}".repeat(4_000) + "\n", State::Well),
            ("\u{e4}".repeat(4_001), State::Failed),
        ] {
            assert_eq!(sized("x", "f", &text).state, state, "{}", text.len());
        }
    }
}
