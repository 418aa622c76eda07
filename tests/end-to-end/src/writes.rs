//! The drill of writes by a fleet's provider: everything that can get lost on the way, come twice, or contradict itself, each while the same key, an
//! equal payload or another one is sent besides. Afterwards Catena has at most one write per key, and every operation says what holds there, or
//! that nobody knows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use ::operations::{Operation, Status, operation_id};
use axum::http::{HeaderMap, Method};
use futures_util::{StreamExt, future::join_all, stream};
use local::{
    event,
    runtime_api::Function,
    signed::Signed,
    wire::{Fault, Wire},
};
use partner_api::Operation as Route;
use serde_json::{Value, json};
use simulator::{
    Announce, ApiFault, ApiFaultKind, OperationRule, OperationStatus, OperationStep, Scenario,
    WriteTruth,
};
use store::Table;
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard, Semaphore};

use crate::{backend::now, bus::Subscriber, reconciling::Watched};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    LostBefore,
    LostAfter,
    CrashBefore,
    CrashAfter,
    CrashStore,
    WebhookFirst,
    WebhookLost,
    WebhookTwice,
    SucceededFailed,
    FailedSucceeded,
    ShortLag,
    LongLag,
}

impl Row {
    const ALL: [Self; 12] = [
        Self::LostBefore,
        Self::LostAfter,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashStore,
        Self::WebhookFirst,
        Self::WebhookLost,
        Self::WebhookTwice,
        Self::SucceededFailed,
        Self::FailedSucceeded,
        Self::ShortLag,
        Self::LongLag,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::LostBefore => "answer lost before processing",
            Self::LostAfter => "answer lost after processing",
            Self::CrashBefore => "crash before the call",
            Self::CrashAfter => "crash after the call",
            Self::CrashStore => "crash before the store",
            Self::WebhookFirst => "webhook first",
            Self::WebhookLost => "webhook lost",
            Self::WebhookTwice => "webhook twice",
            Self::SucceededFailed => "succeeded then failed",
            Self::FailedSucceeded => "failed then succeeded",
            Self::ShortLag => "list lags, less than searched",
            Self::LongLag => "list lags, more than searched",
        }
    }

    const fn is_crash(self) -> bool {
        matches!(
            self,
            Self::CrashBefore | Self::CrashAfter | Self::CrashStore
        )
    }

    /// Whether an answer is lost, by the network.
    const fn is_lost(self) -> bool {
        matches!(
            self,
            Self::LostBefore | Self::LostAfter | Self::ShortLag | Self::LongLag
        )
    }

    /// How long it takes until Catena lists a write. A search takes 6 s here.
    const fn lag(self) -> Duration {
        match self {
            Self::ShortLag => Duration::from_secs(3),
            Self::LongLag => Duration::from_secs(12),
            _ => Duration::ZERO,
        }
    }
}

/// What is sent besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    SameKey,
    EqualPayload,
    OtherPayload,
}

impl Column {
    const ALL: [Self; 3] = [Self::SameKey, Self::EqualPayload, Self::OtherPayload];

    const fn name(self) -> &'static str {
        match self {
            Self::SameKey => "same key",
            Self::EqualPayload => "equal payload",
            Self::OtherPayload => "other payload",
        }
    }

    const fn keys(self) -> usize {
        match self {
            Self::SameKey => 1,
            Self::EqualPayload | Self::OtherPayload => 2,
        }
    }
}

/// One time that a cell is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    row: Row,
    column: Column,
    number: usize,
}

impl Case {
    /// In every text that is written in this case, and in no other.
    fn marker(self) -> String {
        let Self {
            row,
            column,
            number,
        } = self;
        format!("[{row:?}/{column:?}/{number}]")
    }

    /// What is written under each key.
    fn texts(self) -> [String; 2] {
        let marker = self.marker();
        let other = match self.column {
            Column::SameKey | Column::EqualPayload => "a",
            Column::OtherPayload => "b",
        };
        [format!("{marker} a"), format!("{marker} {other}")]
    }

    fn keys(self) -> [String; 2] {
        let marker = self.marker();
        [format!("{marker}1"), format!("{marker}2")]
    }

    /// How many calls lose their answer. An equal payload's is lost, too, every second time.
    fn lost(self) -> usize {
        let both = self.column == Column::EqualPayload && self.number % 2 == 1;
        match self.row {
            row if row.is_lost() => 1 + usize::from(both),
            row if row.is_crash() => 1,
            _ => 0,
        }
    }

    /// How many of them Catena doesn't process.
    fn unprocessed(self) -> usize {
        match self.row {
            Row::LostBefore | Row::CrashBefore => self.lost(),
            _ => 0,
        }
    }
}

/// What came of a case so far.
struct Tried {
    case: Case,
    fleet: String,
    /// Our operations.
    ids: Vec<String>,
    /// How often a key was refused because an equal write was unclear.
    conflicts: usize,
}

/// What came of a cell.
#[derive(Debug, Default)]
struct Cell {
    times: usize,
    operations: usize,
    writes: usize,
    ends: BTreeMap<Status, usize>,
    conflicts: usize,
}

/// Where a partner API runs that is killed.
struct Killer {
    /// Its lane to AWS, and that to Catena.
    lane: String,
    aws: String,
    catena: String,
}

/// A partner API that is about to be killed: its call hangs.
struct Hanging<'a> {
    function: Function,
    _killer: MutexGuard<'a, Killer>,
}

impl Hanging<'_> {
    fn kill(self) {
        // Dropping does it.
        drop(self.function);
    }
}

/// Each cell so many times.
fn cases(times: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for number in 0..times {
        for row in Row::ALL {
            let case = |column| Case {
                row,
                column,
                number,
            };
            cases.extend(Column::ALL.map(case));
        }
    }
    cases
}

/// Kingpin, Catena, and those that are killed.
struct Drill {
    watched: Watched,
    table: Table,
    partner: Signed,
    /// Between the killed ones and Catena.
    catena: Wire,
    killers: Vec<Mutex<Killer>>,
    fleets: Vec<String>,
    /// For calls of the partner API.
    turns: Semaphore,
    calls: AtomicUsize,
    /// Answers that tell of trouble: the same key was sent again.
    troubles: AtomicUsize,
    kills: AtomicUsize,
}

/// What came of it if each cell is tried so often.
pub(crate) async fn run(times: usize) -> String {
    let start = Instant::now();
    let drill = &Drill::start().await;
    let simulator = drill.watched.simulator();
    let bus = &drill.watched.running.stack.deployment;
    let bus = bus.output("EventBusName").unwrap();
    let subscriber = Subscriber::of(&drill.watched.running.stack.aws, bus).await;
    let done = &AtomicBool::new(false);
    let story = async {
        let cases = cases(times);
        let (crashes, others): (Vec<_>, Vec<_>) =
            cases.into_iter().partition(|case| case.row.is_crash());
        // Nobody else's call is taken for over before 40 s: until then those that crash wait, and Catena lists what it has of them.
        let (mut tried, others) =
            tokio::join!(drill.attempts(crashes, usize::MAX), drill.by_lags(&others));
        tried.extend(others);
        drill.settled(&tried).await;
        // Of two ends the second may still be on its way.
        simulator.idle().await;
        drill.watched.settled().await;
        drill.ask_again(&tried).await;
        done.store(true, Ordering::Relaxed);
        tried
    };
    let sweeps = async {
        while !done.load(Ordering::Relaxed) {
            drill.watched.sweep().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (tried, ()) = tokio::join!(story, sweeps);

    let faults = simulator.api_faults();
    assert!(faults.is_empty(), "never happened: {faults:?}");
    let rules = simulator.operation_rules();
    assert!(rules.is_empty(), "never happened: {rules:?}");
    assert_eq!(drill.watched.dead_tasks().await, 0);
    assert_eq!(drill.watched.running.dead_letters().await, 0);
    let ends = drill.ends(&tried).await;
    let told = drill.assert_told(&subscriber, &tried, &ends).await;
    let overtaken = drill.overtaken(&tried, &ends).await;
    let cells = drill.assert_true(&tried, &ends);
    drill.figures(&cells, told, overtaken, start.elapsed())
}

impl Drill {
    async fn start() -> Self {
        let watched = Watched::start(&[]).await;
        let stack = &watched.running.stack;
        let report = watched.simulator().run(&Scenario::onboarding(FLEETS)).await;
        watched.settled().await;
        let fleets = report.fleets.iter().map(|it| it.fleet_ref.clone());
        let fleets = fleets.collect();
        let catena = Wire::new(stack.simulator.url()).unwrap();
        let mut killers = Vec::new();
        for number in 0..KILLERS {
            let lane = format!("killed-{number}");
            killers.push(Mutex::new(Killer {
                aws: stack.wire.lane(&lane).await.unwrap(),
                catena: catena.lane(&lane).await.unwrap(),
                lane,
            }));
        }
        Self {
            table: watched.running.table().await,
            partner: watched.running.partner(),
            watched,
            catena,
            killers,
            fleets,
            turns: Semaphore::new(CALLS_AT_ONCE),
            calls: AtomicUsize::default(),
            troubles: AtomicUsize::default(),
            kills: AtomicUsize::default(),
        }
    }

    /// One lag of Catena's list after the other, each to the end of its cases.
    async fn by_lags(&self, cases: &[Case]) -> Vec<Tried> {
        let mut all = Vec::new();
        for lag in [Row::ShortLag, Row::LongLag, Row::LostBefore].map(Row::lag) {
            self.watched.simulator().set_operation_list_lag(lag);
            let of_lag = cases.iter().filter(|case| case.row.lag() == lag);
            let tried = self
                .attempts(of_lag.copied().collect(), CASES_AT_ONCE)
                .await;
            self.settled(&tried).await;
            all.extend(tried);
        }
        all
    }

    async fn attempts(&self, cases: Vec<Case>, at_once: usize) -> Vec<Tried> {
        // Collected first, so that the closures' borrows end.
        let attempts: Vec<_> = cases.into_iter().map(|case| self.attempt(case)).collect();
        stream::iter(attempts)
            .buffer_unordered(at_once)
            .collect()
            .await
    }

    /// Waits until nothing more is expected.
    async fn settled(&self, tried: &[Tried]) {
        let give_up = Instant::now() + LIMIT;
        loop {
            let ends = self.ends(tried).await;
            let open = ends.values().filter(|it| it.status(now()).is_open());
            let open: Vec<_> = open.collect();
            if open.is_empty() {
                break;
            }
            assert!(Instant::now() < give_up, "never settled: {open:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// All operations of these cases.
    async fn ends(&self, tried: &[Tried]) -> BTreeMap<String, Operation> {
        let ids: BTreeSet<String> = tried.iter().flat_map(|it| it.ids.clone()).collect();
        let found = self.table.operations(&ids).await.unwrap();
        assert_eq!(found.len(), ids.len());
        let found = found.into_iter();
        found
            .map(|(id, stored)| (id, stored.unwrap().operation))
            .collect()
    }

    /// Lets happen what a case is about.
    async fn attempt(&self, case: Case) -> Tried {
        self.arrange(case);
        let place = case.number * Row::ALL.len() + case.row as usize;
        let fleet = self.fleets[place % self.fleets.len()].clone();
        let ids = case.keys().map(|key| operation_id(&fleet, &key));
        let conflicts = match case.column {
            Column::SameKey => self.same_key(case, &fleet, &ids[0]).await,
            Column::EqualPayload => self.equal_payload(case, &fleet, &ids).await,
            Column::OtherPayload => self.other_payload(case, &fleet).await,
        };
        Tried {
            case,
            ids: ids[..case.column.keys()].to_vec(),
            fleet,
            conflicts,
        }
    }

    /// Tells the simulator what to do about a case's writes.
    fn arrange(&self, case: Case) {
        let simulator = self.watched.simulator();
        let Case {
            row,
            column,
            number,
        } = case;
        let pick = |kinds: &[ApiFaultKind]| kinds[number % kinds.len()].clone();
        let keys = column.keys();
        let fault = match row {
            Row::LostBefore => Some((
                pick(&[
                    ApiFaultKind::CutBefore,
                    ApiFaultKind::Status { status: 502 },
                    ApiFaultKind::Status { status: 504 },
                ]),
                case.lost(),
            )),
            Row::LostAfter | Row::ShortLag | Row::LongLag => Some((
                pick(&[
                    ApiFaultKind::CutAfter,
                    ApiFaultKind::StatusAfter { status: 502 },
                    ApiFaultKind::StatusAfter { status: 504 },
                    ApiFaultKind::Truncated,
                ]),
                case.lost(),
            )),
            Row::WebhookFirst => Some((ApiFaultKind::AnswerLate { by: LATE }, keys)),
            _ => None,
        };
        if let Some((kind, times)) = fault {
            let mut fault = ApiFault::new(kind).on("POST", MESSAGES);
            // The first key's; of equal payloads whichever comes first.
            fault.containing = Some(case.texts()[0].clone());
            if row == Row::WebhookFirst {
                fault.containing = Some(case.marker());
            }
            simulator.add_api_fault(fault.times(u32::try_from(times).unwrap()));
        }

        let millis = Duration::from_millis;
        let success = |after| OperationStep::success(millis(after));
        let failed = |after| {
            let types = ["auth", "validation", "network", "tsp"];
            OperationStep::failed(millis(after), types[number % types.len()])
        };
        let even = number % 2 == 0;
        let one = |after| if even { success(after) } else { failed(after) };
        // What comes second may have come to be first, by its date: the date counts.
        let shift = if number / 2 % 2 == 0 { 0 } else { -1_000 };
        let rule = match row {
            // Webhooks come before the end of the search, or after the first of them, or not at all.
            Row::LostBefore | Row::CrashBefore => OperationRule::new([success(200)]),
            Row::LostAfter | Row::CrashAfter | Row::CrashStore => {
                OperationRule::new([one(200 * (number as u64 % 5))])
            }
            Row::ShortLag | Row::LongLag => OperationRule::new([one(100)]),
            Row::WebhookFirst => OperationRule::new([one(0)]),
            Row::WebhookLost => {
                let step = one([0, 100, 700, 2_500][number / 2 % 4]);
                OperationRule::new([step.announced(Announce::Lost)]).created(Announce::Lost)
            }
            Row::WebhookTwice => {
                let step = one(100).announced(Announce::Twice);
                OperationRule::new([step]).created(Announce::Twice)
            }
            Row::SucceededFailed => OperationRule::new([success(100), failed(400).shifted(shift)]),
            Row::FailedSucceeded => OperationRule::new([failed(100), success(400).shifted(shift)]),
        };
        let times = u32::try_from(keys - case.unprocessed()).unwrap();
        if times > 0 {
            simulator.add_operation_rule(rule.containing(&case.marker()).times(times));
        }
    }

    /// The same key is sent at the same time or afterwards, and again.
    async fn same_key(&self, case: Case, fleet: &str, id: &str) -> usize {
        let ([key, _], [text, _]) = (case.keys(), case.texts());
        let send = || self.sent(fleet, &key, &text);
        let answers = if case.row.is_crash() {
            let hanging = self.crash(case, fleet, &key, &text).await;
            let meanwhile = send().await;
            hanging.kill();
            vec![meanwhile, send().await, send().await]
        } else if case.number.is_multiple_of(2) {
            join_all([send(), send(), send()]).await
        } else {
            vec![send().await, send().await]
        };
        let news = answers.iter().filter(|(status, _)| *status == 202);
        let most = usize::from(!case.row.is_crash());
        assert!(news.count() <= most, "{case:?}: {answers:#?}");
        for (status, body) in &answers {
            assert!([200, 202].contains(status), "{case:?}: {status} {body}");
            assert_eq!(body["id"], id, "{case:?}");
        }
        0
    }

    /// The same is sent under two keys; how often one had to wait.
    async fn equal_payload(&self, case: Case, fleet: &str, ids: &[String; 2]) -> usize {
        let (keys, [text, _]) = (case.keys(), case.texts());
        let send = async |place: usize| {
            let other = &ids[1 - place];
            self.let_through(case, fleet, &keys[place], &text, other)
                .await
        };
        if case.row.is_crash() {
            let hanging = self.crash(case, fleet, &keys[0], &text).await;
            if case.row != Row::CrashStore {
                let (status, body) = self.sent(fleet, &keys[1], &text).await;
                assert_eq!((status, problem(&body)), (409, UNCLEAR), "{case:?}: {body}");
            }
            hanging.kill();
            send(1).await
        } else if case.number % 4 < 2 {
            let (one, other) = tokio::join!(send(0), send(1));
            one + other
        } else {
            send(0).await + send(1).await
        }
    }

    /// Something else is sent under another key, which waits for nothing; and then under the first key, which is refused.
    async fn other_payload(&self, case: Case, fleet: &str) -> usize {
        let (keys, texts) = (case.keys(), case.texts());
        let send = async |place: usize| self.sent(fleet, &keys[place], &texts[place]).await;
        let answers = if case.row.is_crash() {
            let hanging = self.crash(case, fleet, &keys[0], &texts[0]).await;
            let meanwhile = send(1).await;
            hanging.kill();
            vec![meanwhile]
        } else if case.number.is_multiple_of(2) {
            let (one, other) = tokio::join!(send(0), send(1));
            vec![one, other]
        } else {
            vec![send(0).await, send(1).await]
        };
        for (status, body) in &answers {
            assert!([200, 202].contains(status), "{case:?}: {status} {body}");
        }
        let (status, body) = self.sent(fleet, &keys[0], &texts[1]).await;
        let refused = (409, "key-reused");
        assert_eq!((status, problem(&body)), refused, "{case:?}: {body}");
        0
    }

    /// Sends a key until it isn't refused because of the other one any more, which must be so exactly as long as nobody knows whether Catena has that.
    async fn let_through(
        &self,
        case: Case,
        fleet: &str,
        key: &str,
        text: &str,
        other: &str,
    ) -> usize {
        let mut conflicts = 0;
        let pause = if case.row.is_crash() { 4_000 } else { 400 };
        let give_up = Instant::now() + LIMIT;
        loop {
            let before = self.status(other).await;
            let (status, body) = self.sent(fleet, key, text).await;
            let after = self.status(other).await;
            let ambiguous = |status: Option<Status>| status.map(Status::is_ambiguous);
            match status {
                200 | 202 => {
                    let both = (ambiguous(before), ambiguous(after));
                    assert_ne!(both, (Some(true), Some(true)), "{case:?}: {body}");
                    return conflicts;
                }
                409 => {
                    assert_eq!(problem(&body), UNCLEAR, "{case:?}: {body}");
                    assert_ne!(ambiguous(before), Some(false), "{case:?}: {body}");
                    assert!(body["retry_after_seconds"].as_u64() > Some(0), "{body}");
                    conflicts += 1;
                }
                _ => panic!("{case:?}: {status} {body}"),
            }
            assert!(Instant::now() < give_up, "{case:?}: {body}");
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Every key still tells the same, once it is over, and so does its id.
    async fn ask_again(&self, tried: &[Tried]) {
        let again: Vec<_> = tried.iter().map(|it| self.ask_one_again(it)).collect();
        stream::iter(again)
            .buffer_unordered(CALLS_AT_ONCE)
            .collect::<()>()
            .await;
    }

    async fn ask_one_again(&self, tried: &Tried) {
        let Tried { case, fleet, .. } = tried;
        let (keys, texts) = (case.keys(), case.texts());
        for (place, id) in tried.ids.iter().enumerate() {
            let (status, sent) = self.sent(fleet, &keys[place], &texts[place]).await;
            assert_eq!((status, &sent["id"]), (200, &json!(id)), "{case:?}: {sent}");
            let stands = self.status(id).await.map(Status::as_str);
            assert_eq!(sent["status"].as_str(), stands, "{case:?}");
            let _turn = self.turns.acquire().await.unwrap();
            let path = format!("/operations/{id}");
            let answer = self.partner.send(Method::GET, &path, None).await.unwrap();
            assert_eq!(answer.json().unwrap(), sent, "{case:?}");
        }
    }

    async fn status(&self, id: &str) -> Option<Status> {
        let stored = self.table.operation(id).await.unwrap();
        stored.map(|it| it.operation.status(now()))
    }

    /// Sends a write to the deployed partner API. What doesn't get through is sent again under its key, as a partner would.
    async fn sent(&self, fleet: &str, key: &str, text: &str) -> (u16, Value) {
        let mut tries = 0;
        loop {
            let turn = self.turns.acquire().await.unwrap();
            let path = format!("/fleets/{fleet}/operations");
            let mut request = self
                .partner
                .unsigned(Method::POST, &path, Some(body(text)))
                .unwrap();
            request
                .headers
                .insert("idempotency-key", key.parse().unwrap());
            let request = self.partner.sign(request).unwrap();
            let answer = self.partner.deliver(request).await.unwrap();
            drop(turn);
            self.calls.fetch_add(1, Ordering::Relaxed);
            if answer.status < 500 {
                return (answer.status, answer.json().unwrap());
            }
            self.troubles.fetch_add(1, Ordering::Relaxed);
            tries += 1;
            assert!(tries < 10, "{}", String::from_utf8_lossy(&answer.body));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Has a write sent by a partner API of its own, up to the moment at which that one is to die. It is the real binary with the deployed
    /// one's settings, in front of the same table and the same Catena; only its own process can be killed, and its calls be held up,
    /// without harm to the others:
    ///
    /// - before the call: its request for Catena has left and never arrives;
    /// - after the call: Catena has answered, and the answer never arrives;
    /// - before the store: it has read the answer, and its next write to the table never arrives; or that arrives, which claims Catena's
    ///   id, and its answer doesn't; or only the next one, which would make the operation accepted, doesn't arrive.
    async fn crash(&self, case: Case, fleet: &str, key: &str, text: &str) -> Hanging<'_> {
        let killer = self.killers[case.number % self.killers.len()].lock().await;
        let stack = &self.watched.running.stack;
        let (wire, spared, action, fault) = match (case.row, case.number % 3) {
            (Row::CrashBefore, _) => (&self.catena, 0, "*", Fault::Hang),
            (Row::CrashAfter, _) => (&self.catena, 0, "*", Fault::HangAfter),
            // Its turn and the operation are written before the call.
            (_, 0) => (&stack.wire, 2, UPDATE, Fault::Hang),
            (_, 1) => (&stack.wire, 2, UPDATE, Fault::HangAfter),
            (_, _) => (&stack.wire, 3, UPDATE, Fault::Hang),
        };
        let deployed = &stack.deployment.functions["partner-api"];
        let mut settings = deployed.environment.clone();
        settings.extend(Wire::environment(&killer.aws));
        // Tokens come from another server, without a detour.
        settings.insert("CATENA_API_URL".to_owned(), killer.catena.clone());
        let settings: Vec<_> = settings.into_iter().collect();
        let function = Function::spawn(&deployed.binary, &settings).await.unwrap();
        let hung = wire.hung(&killer.lane);
        wire.fault_after(spared, &killer.lane, action, fault);
        let hangs = async {
            while wire.hung(&killer.lane) == hung {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let event = event_of(fleet, key, text);
        tokio::select! {
            answer = function.invoke(&event) => panic!("{case:?}: it isn't killed: {answer:?}"),
            () = hangs => {}
        }
        wire.heal_lane(&killer.lane);
        self.kills.fetch_add(1, Ordering::Relaxed);
        Hanging {
            function,
            _killer: killer,
        }
    }

    /// What the bus told of each operation last is its end; how many events that took.
    async fn assert_told(
        &self,
        subscriber: &Subscriber<'_>,
        tried: &[Tried],
        ends: &BTreeMap<String, Operation>,
    ) -> usize {
        let mut told: BTreeMap<String, BTreeMap<u64, (String, String)>> = BTreeMap::new();
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            for event in subscriber.got().await {
                let (name, detail) = (&event["detail-type"], &event["detail"]);
                let Some(id) = detail["operation"]["id"].as_str() else {
                    continue;
                };
                let status = detail["operation"]["status"].as_str().unwrap().to_owned();
                let version = detail["version"].as_u64().unwrap();
                let name = name.as_str().unwrap().to_owned();
                told.entry(id.to_owned())
                    .or_default()
                    .insert(version, (name, status));
            }
            let agrees = |(id, end): &(&String, &Operation)| {
                let status = end.status(now());
                let name = match status {
                    Status::Success => "operation.succeeded",
                    Status::Failed => "operation.failed",
                    _ => "operation.unknown",
                };
                let last = told.get(*id).and_then(BTreeMap::last_key_value);
                last.is_some_and(|(_, it)| *it == (name.to_owned(), status.as_str().to_owned()))
            };
            let left: Vec<_> = ends.iter().filter(|it| !agrees(it)).collect();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < give_up, "told otherwise: {left:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(told.len(), ends.len(), "told of what nobody sent");
        for tried in tried {
            let row = tried.case.row;
            let contradictory = [Row::SucceededFailed, Row::FailedSucceeded].contains(&row);
            for id in &tried.ids {
                let most = 1 + usize::from(contradictory);
                assert!(told[id].len() <= most, "{:?}: {:?}", tried.case, told[id]);
            }
        }
        told.values().map(BTreeMap::len).sum()
    }

    /// How many operations' ends were told by a webhook before Kingpin knew whose they are.
    async fn overtaken(&self, tried: &[Tried], ends: &BTreeMap<String, Operation>) -> usize {
        let catena_ids = |row: Option<Row>| {
            let tried = tried
                .iter()
                .filter(move |it| row.is_none_or(|row| row == it.case.row));
            let ids = tried.flat_map(|it| &it.ids);
            ids.filter_map(|id| ends[id].catena_id.clone())
                .collect::<Vec<_>>()
        };
        let overtaken = async |row| {
            let remotes = self.table.remotes(catena_ids(row)).await.unwrap();
            let overtaken = remotes.values().filter(|it| it.heard.outcome().is_some());
            overtaken.count()
        };
        let all = catena_ids(Some(Row::WebhookFirst)).len();
        let first = overtaken(Some(Row::WebhookFirst)).await;
        assert!(first * 10 >= all * 9, "{first} of {all} only");
        overtaken(None).await
    }

    /// Everything that is promised holds of every case; the figures of each cell.
    fn assert_true(
        &self,
        tried: &[Tried],
        ends: &BTreeMap<String, Operation>,
    ) -> BTreeMap<(Row, Column), Cell> {
        let writes = self.watched.simulator().writes();
        let mut by_text: HashMap<&str, Vec<&WriteTruth>> = HashMap::new();
        for write in &writes {
            let text = write.sent["message_text"].as_str().unwrap();
            by_text.entry(text).or_default().push(write);
        }
        let mut cells: BTreeMap<(Row, Column), Cell> = BTreeMap::new();
        let mut claimed = BTreeSet::new();
        for Tried {
            case,
            ids,
            conflicts,
            ..
        } in tried
        {
            let texts: BTreeSet<String> = case.texts().into();
            let of_text = |text: &String| by_text.get(text.as_str()).cloned().unwrap_or_default();
            let written: BTreeMap<&String, Vec<&WriteTruth>> =
                texts.iter().map(|text| (text, of_text(text))).collect();
            // At most one per key, and exactly one wherever Catena took it.
            let count: usize = written.values().map(Vec::len).sum();
            let expected = case.column.keys() - case.unprocessed();
            assert_eq!(count, expected, "{case:?}: {written:#?}");
            if case.column == Column::OtherPayload {
                let most = written.values().map(Vec::len).max();
                assert!(most <= Some(1), "{case:?}: {written:#?}");
            }
            let truths: BTreeMap<String, &WriteTruth> = written
                .values()
                .flatten()
                .map(|it| (it.operation_id.to_string(), *it))
                .collect();

            let cell = cells.entry((case.row, case.column)).or_default();
            let mut unknown = 0;
            for id in ids {
                let end = &ends[id];
                let status = end.status(now());
                assert_eq!(end.calls, 1, "{case:?}: {end:#?}");
                *cell.ends.entry(status).or_default() += 1;
                let Some(catena_id) = &end.catena_id else {
                    assert_eq!(status, Status::Unknown, "{case:?}: {end:#?}");
                    unknown += 1;
                    continue;
                };
                assert!(claimed.insert(catena_id.clone()), "{catena_id} of two");
                let truth = truths[catena_id];
                let (held, error_type) = match truth.status {
                    OperationStatus::Success => (Status::Success, None),
                    OperationStatus::Failed => (Status::Failed, truth.error_type.as_deref()),
                    OperationStatus::Pending => panic!("{case:?}: {truth:?}"),
                };
                assert_eq!(status, held, "{case:?}: {end:#?} {truth:#?}");
                assert_eq!(end.heard.error_type(), error_type, "{case:?}: {end:#?}");
            }
            for (catena_id, truth) in &truths {
                let owned = claimed.contains(catena_id);
                let lags = case.row == Row::LongLag && !truth.accepted;
                assert!(owned || lags, "{case:?}: nobody's: {truth:#?}");
            }
            // Nobody knows of what never arrived, and of what Catena lists too late.
            let least = case.unprocessed();
            let most = match case.row {
                Row::LongLag => case.lost(),
                _ => least,
            };
            assert!((least..=most).contains(&unknown), "{case:?}: {unknown}");
            cell.times += 1;
            cell.operations += ids.len();
            cell.writes += count;
            cell.conflicts += conflicts;
        }
        cells
    }

    fn figures(
        &self,
        cells: &BTreeMap<(Row, Column), Cell>,
        told: usize,
        overtaken: usize,
        lasted: Duration,
    ) -> String {
        let mut text = format!(
            "\n{:<30} {:<14} {:>5} {:>10} {:>6} {:>7} {:>6} {:>7} {:>6} {:>5}\n",
            "fault",
            "besides",
            "times",
            "operations",
            "writes",
            "success",
            "failed",
            "unknown",
            "share",
            "409s"
        );
        let mut all = Cell::default();
        for ((row, column), cell) in cells {
            let count = |status| cell.ends.get(&status).copied().unwrap_or_default();
            let unknown = count(Status::Unknown);
            let _ = writeln!(
                text,
                "{:<30} {:<14} {:>5} {:>10} {:>6} {:>7} {:>6} {:>7} {:>5.0}% {:>5}",
                row.name(),
                column.name(),
                cell.times,
                cell.operations,
                cell.writes,
                count(Status::Success),
                count(Status::Failed),
                unknown,
                100.0 * unknown as f64 / cell.operations as f64,
                cell.conflicts
            );
            all.times += cell.times;
            all.operations += cell.operations;
            all.writes += cell.writes;
            all.conflicts += cell.conflicts;
            for (status, count) in &cell.ends {
                *all.ends.entry(*status).or_default() += count;
            }
        }
        let _ = write!(
            text,
            "{} cells, {} times: {} operations, {} writes, never two of one key; each ended as Catena has it, or unknown: {:?}; {} \
             waited for an equal write; {} calls, {} of them answered by a 5xx and sent again; {} processes killed; {overtaken} ends were told before anybody knew whose they are; {told} events agree; \
             {:.0} s",
            cells.len(),
            all.times,
            all.operations,
            all.writes,
            all.ends,
            all.conflicts,
            self.calls.load(Ordering::Relaxed),
            self.troubles.load(Ordering::Relaxed),
            self.kills.load(Ordering::Relaxed),
            lasted.as_secs_f64()
        );
        text
    }
}

/// A message with this text.
fn body(text: &str) -> Value {
    let message = json!({
        "sender_id": "3e7c9a0e-6d5b-4c58-9d59-2f0d8a3b1c01",
        "recipient_id": "3e7c9a0e-6d5b-4c58-9d59-2f0d8a3b1c02",
        "message_text": text,
    });
    json!({ "resource": "message", "operation": "create", "payload": message })
}

/// API Gateway's event for such a write.
fn event_of(fleet: &str, key: &str, text: &str) -> Value {
    let route_key = Route::SubmitOperation.route_key();
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", key.parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let body = body(text).to_string();
    let request = event::Request {
        method: &Method::POST,
        path: &format!("/fleets/{fleet}/operations"),
        query: "",
        headers: &headers,
        body: body.as_bytes(),
        source_ip: "127.0.0.1",
    };
    let parameters = [("fleet_ref".to_owned(), fleet.to_owned())];
    let at = OffsetDateTime::now_utc();
    let mut event = event::event(&request, route_key, &parameters, "id", at);
    let caller = json!({ "userArn": "arn:aws:iam::000000000000:user/test" });
    event["requestContext"]["authorizer"] = json!({ "iam": caller });
    event
}

fn problem(body: &Value) -> &str {
    let kind = body["type"].as_str().unwrap_or_default();
    kind.strip_prefix("urn:kingpin:problem:").unwrap_or(kind)
}

const MESSAGES: &str = "/v2/telematics/messages";
const UPDATE: &str = "dynamodb:UpdateItem";
const UNCLEAR: &str = "equal-write-unclear";
const FLEETS: usize = 24;
/// Processes that may be killed at a time.
const KILLERS: usize = 3;
/// Of the partner API.
const CALLS_AT_ONCE: usize = 8;
const CASES_AT_ONCE: usize = 16;
/// So much later than the webhook comes an answer.
const LATE: Duration = Duration::from_millis(1_200);
const LIMIT: Duration = Duration::from_secs(400);
