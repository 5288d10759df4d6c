//! The section `[linking]`: where Ring and its user's browser come to, and what a stranger's calls may cost.

use std::time::Duration;

use super::common::url_path;
use super::model::{Linking, Webhook};
use super::raw::{Echo, Section};
use super::value::{Wrong, count, duration, text};

const DAY: Duration = Duration::from_hours(24);
/// Ring allows an app 100 requests a second; what goes out together by chance needs some room.
const MOST_PER_SECOND: u32 = 95;

pub(super) fn linking(mut s: Section<'_>, webhook: &Webhook, requests_per_second: u32) -> Linking {
    let linking = Linking {
        code_path: s.get("code_path", "/ring/token", text(url_path)),
        link_path: s.get("link_path", "/ring/link", text(url_path)),
        sign_in_url: s.optional("sign_in_url", "https://example.com/ring/sign-in", Echo::Shown, text(page)),
        codes_per_second: s.get("codes_per_second", 10_u64, count(1_u32..=40)),
        forget_after_removal: s.optional(
            "forget_after_removal",
            "30d",
            Echo::Shown,
            duration(DAY..=DAY * 3650),
        ),
        clock_skew: s.get("clock_skew", "5s", duration(Duration::ZERO..=Duration::from_mins(5))),
    };
    let paths = [("link_path", &linking.link_path), ("code_path", &linking.code_path)];
    for (key, path) in paths {
        if *path == webhook.path {
            s.refuse(key, "is webhook.path; each needs a path of its own".into());
        }
    }
    if linking.link_path == linking.code_path {
        s.refuse("link_path", "is code_path; each needs a path of its own".into());
    }
    let left = MOST_PER_SECOND.saturating_sub(requests_per_second);
    if linking.codes_per_second > left {
        s.refuse(
            "codes_per_second",
            format!(
                "must be at most {left} beside ring.requests_per_second = {requests_per_second}: Ring allows 100 for both, and \
                 some room is needed"
            ),
        );
    }
    s.finish();
    linking
}

/// A page of the partner's, which the browser goes on to.
fn page(text: &str) -> Result<String, Wrong> {
    let fits = (text.starts_with("https://") || text.starts_with("http://"))
        && text.len() <= 1024
        && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if fits { Ok(text.into()) } else { Err(Wrong::Form("an https address without #")) }
}
