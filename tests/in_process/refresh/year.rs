//! The loop of a simulated year: the planner as the daemon will drive it, against OAuth, over a disk that survives.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use ringhookd::domain::heard::Objection;
use ringhookd::domain::refresh::{
    Decision, End, Gain, Moment, Next, Notice, Outcome, Planner, Policy as Limits, Proof, Record,
};
use ringhookd::domain::ring_time::Estimate;
use ringhookd::domain::time::Millis;

use super::oauth::{OAuth, Policy, Weather};

use crate::support::rng::Rng;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const START: Millis = Millis(1_790_000_000_000);
const TIMEOUT: Duration = Duration::from_secs(10);
const EXPIRES_IN: Duration = Duration::from_hours(4);

pub(crate) struct Setting {
    pub(crate) accounts: usize,
    pub(crate) days: u64,
    pub(crate) policy: Policy,
    pub(crate) seed: u64,
}

/// What is on disk of an account: survives restarts.
#[derive(Debug, Clone, Copy)]
struct Kept {
    token: u64,
    record: Record,
    /// OAuth replaced the token and its answer never came: the one loss that nothing can prevent when old tokens die at
    /// once.
    answer_lost: bool,
    in_flight: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Coming {
    at: Duration,
    account: usize,
    asked: Duration,
    /// Nothing when it never comes; then the client's timeout does.
    token: Option<u64>,
    what: u8,
}

#[derive(Debug, Default)]
struct Counts {
    renewed: u64,
    tries: u64,
    restarts: u64,
    jumps: u64,
    outages: u64,
    answers_lost: u64,
    lost_with_their_answer: u64,
}

pub(crate) struct Year {
    setting: Setting,
    random: Rng,
    /// What passes really; the monotonic clock is this less what it slept or ran before the last start.
    now: Duration,
    started: Duration,
    /// How wrong the wall clock is, in milliseconds.
    wall_error: i64,
    oauth: OAuth,
    weather: Weather,
    weather_until: Duration,
    planner: Planner,
    /// What the daemon knows of Ring's clock since its start.
    ring: Estimate,
    disk: Vec<Kept>,
    coming: BinaryHeap<Reverse<Coming>>,
    /// Of the last second.
    sent: VecDeque<Duration>,
    next_restart: Duration,
    next_jump: Duration,
    counts: Counts,
}

impl Year {
    pub(crate) fn new(setting: Setting) -> Self {
        let record = Record {
            renewed_at: START,
            expires_at: START.plus(EXPIRES_IN),
            end: None,
            unsettled: false,
            told: Notice::Fresh,
            proof: Proof::Honoured,
        };
        let kept = Kept { token: 1, record, answer_lost: false, in_flight: false };
        let mut year = Self {
            random: Rng(setting.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Duration::ZERO,
            started: Duration::ZERO,
            wall_error: 0,
            oauth: OAuth::new(setting.policy, setting.accounts),
            weather: Weather::Fine,
            weather_until: HOUR,
            planner: Planner::new(Limits::default()),
            ring: Estimate::default(),
            disk: vec![kept; setting.accounts],
            coming: BinaryHeap::new(),
            sent: VecDeque::new(),
            next_restart: DAY,
            next_jump: DAY,
            counts: Counts::default(),
            setting,
        };
        year.start();
        year
    }

    pub(crate) fn run(mut self) {
        let end = DAY * u32::try_from(self.setting.days).unwrap();
        while self.now < end {
            self.happen();
            if self.ring.offset(Millis(0), self.ticks()).is_none() {
                let now = self.moment();
                self.planner.ask_the_time(now);
            }
            match self.planner.next(self.moment()) {
                Next::Refresh(account) => self.send(usize::try_from(account).unwrap()),
                Next::Wait(wait) => {
                    assert!(wait > Duration::ZERO && wait <= Duration::from_mins(1), "{wait:?}");
                    let then = self.now + wait;
                    let answer = self.coming.peek().map_or(then, |Reverse(coming)| coming.at);
                    self.now = then.min(answer.max(self.now));
                    self.receive();
                }
            }
        }
        self.judge();
        let Setting { accounts, policy, seed, .. } = self.setting;
        println!("seed {seed}, {accounts} accounts, {policy:?}: {:?}", self.counts);
    }

    /// At the end, and whenever OAuth has just said its last word, the disk has a token that OAuth honours.
    fn judge(&mut self) {
        for account in 0..self.disk.len() {
            let kept = self.disk[account];
            let living = self.oauth.honours(account, kept.token, self.now);
            // What is in flight is settled by what comes.
            if kept.answer_lost || kept.in_flight {
                self.counts.lost_with_their_answer += u64::from(!living && kept.answer_lost);
                continue;
            }
            assert!(living, "seed {}: account {account} is lost: {kept:?}", self.setting.seed);
        }
        if self.setting.policy == Policy::Grace {
            let lost = self.counts.lost_with_their_answer;
            // Only an outage, or a daemon that is down, within the grace time can keep an answer from being made good.
            assert!(
                lost * 20 <= self.counts.answers_lost.max(60),
                "seed {}: {:?}",
                self.setting.seed,
                self.counts
            );
        }
    }

    fn send(&mut self, account: usize) {
        let kept = &mut self.disk[account];
        assert!(!kept.in_flight, "seed {}: two in flight for account {account}", self.setting.seed);
        kept.in_flight = true;
        let token = kept.token;
        self.counts.tries += 1;
        while self.sent.front().is_some_and(|&at| self.now.saturating_sub(at) >= Duration::from_secs(1)) {
            self.sent.pop_front();
        }
        self.sent.push_back(self.now);
        assert!(self.sent.len() <= 55, "seed {}: {} in a second", self.setting.seed, self.sent.len());
        let latency = Duration::from_millis(30 + self.below(300));
        let asked = self.ticks();
        let mut coming = Coming { at: self.now + latency, account, asked, token: None, what: NOT_SENT };
        let throttled = self.below(4) > 0;
        match self.weather {
            Weather::Unreachable => {}
            Weather::Silent => (coming.at, coming.what) = (self.now + TIMEOUT, UNKNOWN),
            Weather::Failing => coming.what = FAILED,
            Weather::Throttling if throttled => coming.what = THROTTLED,
            Weather::Mad => coming.what = REFUSED,
            Weather::Estranged => coming.what = CLIENT,
            Weather::Fine | Weather::Throttling => {
                coming.token = self.oauth.refresh(account, token, self.now);
                coming.what = if coming.token.is_some() { RENEWED } else { REFUSED };
                // One in two thousand answers never comes.
                if coming.token.is_some() && self.below(2000) == 0 {
                    (coming.at, coming.what) = (self.now + TIMEOUT, UNKNOWN);
                    self.lose(account);
                }
            }
        }
        self.coming.push(Reverse(coming));
    }

    fn lose(&mut self, account: usize) {
        self.disk[account].answer_lost = true;
        self.counts.answers_lost += 1;
    }

    fn receive(&mut self) {
        while let Some(Reverse(coming)) = self.coming.peek().copied().filter(|Reverse(c)| c.at <= self.now) {
            self.coming.pop();
            if !matches!(coming.what, NOT_SENT | UNKNOWN) {
                let (date, ticks, wall) = (START.plus(self.now), self.ticks(), self.wall());
                self.ring.answered(Millis(date.0 - date.0 % 1000), coming.asked, wall, ticks);
            }
            let answer = match coming.what {
                RENEWED => Outcome::Answer(Gain::Renewed { expires_in: EXPIRES_IN }),
                UNKNOWN | FAILED => Outcome::SILENT,
                THROTTLED => Outcome::throttled(Some(Duration::from_secs(self.below(5)))),
                REFUSED => Outcome::Refused(Objection::Grant),
                CLIENT => Outcome::Refused(Objection::Client),
                _ => Outcome::NO_CONNECTION,
            };
            let (now, random) = (self.moment(), self.draw());
            let kept = &mut self.disk[coming.account];
            kept.in_flight = false;
            if coming.what == RENEWED {
                kept.token = coming.token.unwrap();
                kept.answer_lost = false;
                let expires_at = now.wall.plus(EXPIRES_IN);
                kept.record = Record {
                    renewed_at: now.wall,
                    expires_at,
                    end: None,
                    unsettled: false,
                    told: Notice::Fresh,
                    proof: Proof::Honoured,
                };
                self.counts.renewed += 1;
            }
            kept.record.unsettled |= matches!(coming.what, UNKNOWN | FAILED);
            let account = u32::try_from(coming.account).unwrap();
            if let Some(Decision::Ended(end)) = self.planner.answered(account, answer, now, random) {
                self.ended(coming.account, end);
            }
        }
    }

    fn ended(&mut self, account: usize, end: End) {
        let kept = &mut self.disk[account];
        kept.record.end = Some(end);
        let living = self.oauth.honours(account, kept.token, self.now);
        // Of few accounts a mad OAuth may meet too few to be seen through; the daily try brings those back.
        let few = self.setting.accounts < 1000;
        assert!(!living || few, "seed {}: account {account} was called dead: {kept:?}", self.setting.seed);
    }

    /// Weather, restarts and clock jumps, as they are due.
    fn happen(&mut self) {
        if self.now >= self.weather_until {
            let fine = self.weather == Weather::Fine;
            let bad = [
                (Weather::Unreachable, 25 * DAY),
                (Weather::Silent, 25 * DAY),
                (Weather::Failing, 25 * DAY),
                (Weather::Throttling, DAY),
                (Weather::Mad, 5 * DAY),
                (Weather::Estranged, 25 * DAY),
            ];
            let (weather, longest) = bad[usize::try_from(self.below(6)).unwrap()];
            // Mostly short ones, some of the longest; an hour or more between them.
            let span = if self.below(4) == 0 { longest } else { longest / 40 };
            let lasts =
                if fine { span.mul_f64(self.part()) } else { HOUR + (5 * DAY).mul_f64(self.part().powi(3)) };
            self.weather = if fine { weather } else { Weather::Fine };
            self.weather_until = self.now + lasts;
            self.counts.outages += u64::from(fine);
        }
        if self.now >= self.next_restart {
            self.next_restart = self.now + (10 * DAY).mul_f64(self.part());
            self.counts.restarts += 1;
            self.restart();
        }
        if self.now >= self.next_jump {
            self.next_jump = self.now + (20 * DAY).mul_f64(self.part());
            self.counts.jumps += 1;
            let far = i64::try_from(self.below(40 * 86_400_000)).unwrap();
            self.wall_error = [0, far, -far, 0][usize::try_from(self.below(4)).unwrap()];
        }
    }

    /// The process dies: what is in flight never reaches it. It stays down for up to a day, but never for the last hour of
    /// fine weather, since nobody could make up for that.
    fn restart(&mut self) {
        while let Some(Reverse(coming)) = self.coming.pop() {
            self.disk[coming.account].in_flight = false;
            // The intent is on disk.
            self.disk[coming.account].record.unsettled = true;
            if coming.what == RENEWED {
                self.lose(coming.account);
            }
        }
        let down =
            if self.below(3) == 0 { DAY.mul_f64(self.part()) } else { Duration::from_secs(self.below(20)) };
        let fine_for = self.weather_until.saturating_sub(self.now);
        let may_miss = if self.weather == Weather::Fine { fine_for.saturating_sub(HOUR) } else { fine_for };
        self.now += down.min(may_miss);
        self.start();
    }

    fn start(&mut self) {
        self.started = self.now;
        (self.planner, self.ring) = (Planner::new(Limits::default()), Estimate::default());
        for account in 0..self.disk.len() {
            let (record, now, random) = (self.disk[account].record, self.moment(), self.draw());
            self.planner.plan(u32::try_from(account).unwrap(), &record, now, random);
        }
    }

    fn moment(&self) -> Moment {
        let ticks = self.ticks();
        Moment { wall: self.ring.awake(self.wall(), ticks), ticks }
    }

    /// The machine's, however wrong.
    fn wall(&self) -> Millis {
        let right = i64::try_from(START.plus(self.now).0).unwrap();
        Millis(u64::try_from(right + self.wall_error).unwrap())
    }

    fn ticks(&self) -> Duration {
        self.now.saturating_sub(self.started)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// Evenly in 0..1.
    fn part(&mut self) -> f64 {
        f64::from(u32::try_from(self.draw() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn draw(&mut self) -> u64 {
        self.random.next()
    }
}

const NOT_SENT: u8 = 0;
const UNKNOWN: u8 = 1;
const THROTTLED: u8 = 2;
const REFUSED: u8 = 3;
const CLIENT: u8 = 4;
const RENEWED: u8 = 5;
/// 503, as far as anybody knows without effect.
const FAILED: u8 = 6;
