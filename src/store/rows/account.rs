//! How an account lies on disk: whose it is and was, and what is to come of tokens whose account is not known yet.

use bytes::{Buf, BufMut};

use super::row::{Row, Table, version};
use super::text::{get_id, millis, put_text};
use crate::domain::ids::AccountId;
use crate::domain::link::{LinkState, Tenure, Term};
use crate::domain::ring_time::RingTime;
use crate::domain::time::Millis;

const VERSION: u8 = 3;
/// What names of ours begin with. Ring's ids begin otherwise.
pub(crate) const OURS: &str = "ringhookd.arriving.";

/// A row of `accounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRow {
    /// Nothing once forgotten.
    pub id: Option<AccountId>,
    /// By our clock.
    pub created_at: Millis,
    pub tenure: Tenure,
    /// How its tokens came, while its own id is not known.
    pub arrival: Option<ArrivalRow>,
}

/// How tokens came by a code whose account is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByCode {
    /// When Ring gave the code.
    pub came: RingTime,
    /// Ring does not honour the access token.
    pub refused: bool,
    /// Accounts that got tokens by a younger code of about the same time: one of them may be the account of these.
    pub behind: Vec<u32>,
}

impl ByCode {
    pub(crate) fn new(came: RingTime) -> Self {
        Self { came, refused: false, behind: Vec::new() }
    }
}

/// How tokens came whose account is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArrivalRow {
    /// Ring gave a code for them.
    Code(ByCode),
    /// Somebody put them in.
    PutIn {
        /// Also if another user has the account.
        replace: bool,
        /// The only account that they may be given a user for.
        expects: Option<AccountId>,
    },
}

impl AccountRow {
    pub(crate) fn new(id: &AccountId, tenure: Tenure, now: Millis) -> Self {
        Self { id: Some(id.clone()), created_at: now, tenure, arrival: None }
    }
}

impl Row for AccountRow {
    const TABLE: Table = Table::Accounts;
    /// The account's number.
    type Key = u32;

    fn write(&self, out: &mut Vec<u8>) {
        let tenure = &self.tenure;
        out.put_u8(VERSION);
        out.put_u64(self.created_at.0);
        out.put_u8(tenure.state as u8);
        for at in [tenure.linked_at, tenure.taken_at, tenure.code_at, tenure.removed_at] {
            out.put_u64(at.0);
        }
        out.put_u8(u8::try_from(tenure.terms.len()).unwrap_or(u8::MAX));
        for term in &tenure.terms {
            out.put_u64(term.from.0);
            out.put_u32(term.user);
        }
        out.put_u8(u8::try_from(tenure.signs.len()).unwrap_or(u8::MAX));
        for sign in &tenure.signs {
            out.put_u64(sign.0);
        }
        put_text(out, self.id.as_ref().map(AccountId::as_str));
        if let Some(arrival) = &self.arrival {
            arrival.write(out);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        version(from, VERSION)?;
        let created_at = millis(from)?;
        let state = LinkState::from_u8(from.try_get_u8().ok()?)?;
        let (linked_at, taken_at) = (millis(from)?, millis(from)?);
        let (code_at, removed_at) = (millis(from)?, millis(from)?);
        let terms = from.try_get_u8().ok()?;
        let term = |_| Some(Term { from: millis(from)?, user: from.try_get_u32().ok()? });
        let terms: Vec<_> = (0..terms).map(term).collect::<Option<_>>()?;
        let signs = from.try_get_u8().ok()?;
        let signs = (0..signs).map(|_| millis(from)).collect::<Option<_>>()?;
        if terms.is_empty() {
            return None;
        }
        let id = get_id(from, AccountId::new)?;
        let arrival = if from.is_empty() { None } else { Some(ArrivalRow::read(from)?) };
        let tenure = Tenure { state, terms, signs, linked_at, taken_at, code_at, removed_at };
        Some(Self { id, created_at, tenure, arrival })
    }
}

impl ArrivalRow {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Code(ByCode { came, refused, behind }) => {
                let is_alone = !refused && behind.is_empty();
                out.put_u8(if is_alone { 1 } else { 4 });
                for at in [came.earliest, came.likely, came.latest] {
                    out.put_u64(at.0);
                }
                if !is_alone {
                    out.put_u8((*refused).into());
                    out.put_u8(u8::try_from(behind.len()).unwrap_or(u8::MAX));
                    behind.iter().take(u8::MAX.into()).for_each(|number| out.put_u32(*number));
                }
            }
            Self::PutIn { replace, expects } => {
                out.put_u8(2 + u8::from(*replace));
                put_text(out, expects.as_ref().map(AccountId::as_str));
            }
        }
    }

    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(match from.try_get_u8().ok()? {
            kind @ (1 | 4) => {
                let (earliest, likely, latest) = (millis(from)?, millis(from)?, millis(from)?);
                let mut by_code = ByCode::new(RingTime { earliest, likely, latest });
                if kind == 4 {
                    by_code.refused = from.try_get_u8().ok()? != 0;
                    let behind = from.try_get_u8().ok()?;
                    by_code.behind = (0..behind).map(|_| from.try_get_u32().ok()).collect::<Option<_>>()?;
                }
                Self::Code(by_code)
            }
            kind @ (2 | 3) => Self::PutIn { replace: kind == 3, expects: get_id(from, AccountId::new)? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::is_checked;
    use super::*;

    #[test]
    fn rows_come_back_and_belong_to_their_account() {
        let id = AccountId::new("a").unwrap();
        let time = |n| RingTime { earliest: Millis(n), likely: Millis(n + 1), latest: Millis(u64::MAX) };
        let arrivals = [
            None,
            Some(ArrivalRow::Code(ByCode::new(time(3)))),
            Some(ArrivalRow::Code(ByCode { came: time(3), refused: true, behind: vec![5, 6] })),
            Some(ArrivalRow::PutIn { replace: true, expects: Some(id.clone()) }),
            Some(ArrivalRow::PutIn { replace: false, expects: None }),
        ];
        for (arrival, id) in
            arrivals.into_iter().zip([None, Some(id.clone()), Some(id.clone()), None, Some(id)])
        {
            let tenure = Tenure {
                state: LinkState::Removed,
                terms: vec![Term { from: Millis(0), user: 7 }, Term { from: Millis(9), user: 0 }],
                signs: vec![Millis(4), Millis(5)],
                linked_at: Millis(1),
                taken_at: Millis(2),
                code_at: Millis(3),
                removed_at: Millis(8),
            };
            let row = AccountRow { id, created_at: Millis(6), tenure, arrival };
            is_checked(&row, 3, 4);
        }
    }
}
