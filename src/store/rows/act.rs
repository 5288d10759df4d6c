//! How acts lie on disk. Accounts and users are there by their numbers: once an account is forgotten nothing names it.

use bytes::{Buf, BufMut};

use super::row::{Row, Table, version};
use super::text::{get_text, millis, put_text};
use crate::domain::act::Act;
use crate::domain::actor::Caller;
use crate::domain::time::Millis;

const VERSION: u8 = 1;
/// Stands for a number that the system did not tell.
const NONE: u32 = u32::MAX;

/// A row of `audit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActRow {
    pub at: Millis,
    pub act: Act,
    /// The caller; none for what the daemon did by itself.
    pub by: Option<Caller>,
    pub whom: Whom,
    /// Such as how many, or the name of a queue.
    pub detail: Option<String>,
}

/// Whom an act is about, by number; 0 is nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Whom {
    pub account: u32,
    pub user: u32,
    /// Who had the account before.
    pub former: u32,
}

impl Row for ActRow {
    const TABLE: Table = Table::Audit;
    /// Kind, and the act's number.
    type Key = (u8, u64);

    fn write(&self, out: &mut Vec<u8>) {
        let Self { at, act, by, whom, detail } = self;
        out.put_u8(VERSION);
        out.put_u64(at.0);
        out.put_u8(*act as u8);
        for number in [whom.account, whom.user, whom.former] {
            out.put_u32(number);
        }
        // No socket has an empty name.
        let (uid, gid, pid, socket, token) = match by {
            Some(Caller { uid, gid, pid, socket, token }) => (*uid, *gid, *pid, &**socket, token.as_deref()),
            None => (None, None, None, "", None),
        };
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        for number in [uid, gid, pid] {
            out.put_u32(number.unwrap_or(NONE));
        }
        put_text(out, Some(socket));
        put_text(out, token);
        put_text(out, detail.as_deref());
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let at = millis(from)?;
        let act = Act::of_code(from.try_get_u8().ok()?)?;
        let mut number = || from.try_get_u32().ok();
        let whom = Whom { account: number()?, user: number()?, former: number()? };
        let mut told = || Some(number()?).map(|told| Some(told).filter(|&told| told != NONE));
        let (uid, gid, pid) = (told()?, told()?, told()?);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        let socket = get_text(from)??;
        let token = get_text(from)?.map(Into::into);
        let detail = get_text(from)?;
        let by = (!socket.is_empty()).then(|| Caller { socket: socket.into(), token, uid, gid, pid });
        Some(Self { at, act, by, whom, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn rows_come_back_and_belong_to_their_place() {
        let by = Caller { socket: "/run/a.sock".into(), token: None, uid: Some(1), gid: None, pid: Some(3) };
        let whom = Whom { account: 1, user: 2, former: 3 };
        let row =
            ActRow { at: Millis(4), act: Act::SetUser, by: Some(by), whom, detail: Some("queue all".into()) };
        is_checked(&row, (1, 2), (2, 1));
        let by = Caller {
            socket: "127.0.0.1:1".into(),
            token: Some("/t".into()),
            uid: None,
            gid: None,
            pid: None,
        };
        let row = ActRow { by: Some(by), whom: Whom::default(), detail: None, ..row };
        is_checked(&row, (1, 2), (2, 1));
        is_checked(&ActRow { by: None, ..row }, (1, 2), (2, 1));
    }
}
