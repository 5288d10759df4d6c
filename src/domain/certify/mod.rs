//! What `ringhookd certify` tries, how what it hears is judged, and the report with its notes for Ring's reviewers.

mod hello;
mod judge;
mod notes;
mod report;
mod test_event;

pub use self::hello::{Heard, Old, client_hello, heard};
pub use self::judge::{
    Answer, LIMIT, Landed, Page, code, duplicate, forged, link, old_tls, other_forgeries, signed, time, tls,
};
pub use self::notes::{Note, notes, sized};
pub use self::report::{Address, Report};
pub use self::test_event::{Announced, LIFE, TestEvent};
