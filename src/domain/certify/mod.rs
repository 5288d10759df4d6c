//! What `ringhookd certify` tries, how what it hears is judged, and the report with its notes for Ring's reviewers.

mod hello;
mod test_event;

pub use self::hello::{Heard, Old, client_hello, heard};
pub use self::test_event::{Announced, LIFE, TestEvent};
