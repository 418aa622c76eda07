//! Fleets on their way, with faults by fractions: planned from a seed, then sent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use rand::{
    RngExt as _, SeedableRng as _,
    rngs::StdRng,
    seq::{SliceRandom as _, index},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    envelope::{Envelope, envelope},
    events,
    faults::{Faults, seconds},
    fleet::Fleet,
    organisation::{FleetError, Organisation},
    webhooks::{Answer, Outcome, Sent, Webhooks},
};

/// Fleets that go through onboarding. Fractions are between 0 and 1, of all events of the scenario;
/// a fraction is met exactly (rounded), and the seed chooses which events it hits. In JSON,
/// durations are seconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    fleets: usize,
    fleet_refs: Option<Vec<String>>,
    #[serde(deserialize_with = "fraction")]
    repeat: f64,
    #[serde(deserialize_with = "fraction")]
    overtake: f64,
    #[serde(deserialize_with = "fraction")]
    delay: f64,
    #[serde(with = "seconds")]
    delay_by: Duration,
    #[serde(deserialize_with = "fraction")]
    corrupt: f64,
    #[serde(deserialize_with = "fraction")]
    late: f64,
    #[serde(with = "seconds")]
    late_by: Duration,
    #[serde(deserialize_with = "fraction")]
    forged: f64,
    seed: Option<u64>,
    concurrency: usize,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            fleets: 1,
            fleet_refs: None,
            repeat: 0.0,
            overtake: 0.0,
            delay: 0.0,
            delay_by: Duration::from_secs(1),
            corrupt: 0.0,
            late: 0.0,
            late_by: Duration::from_hours(72),
            forged: 0.0,
            seed: None,
            concurrency: 8,
        }
    }
}

impl Scenario {
    /// Each fleet goes created → viewed → accepted → share agreement → connection → fleet
    /// connection (contract 6.10), within a minute of business time that has just passed. The
    /// organisation's state says so at once, the six events are sent one after the other.
    pub fn onboarding(fleets: usize) -> Self {
        Self {
            fleets,
            ..Self::default()
        }
    }

    /// These fleets, invited through the API, go the rest of the way: viewed → accepted → share agreement → connection →
    /// fleet connection, in this moment of business time. The organisation's state says so at once, the five events are
    /// sent one after the other. Each fleet needs an active invitation.
    pub fn invited<T: Into<String>>(fleet_refs: impl IntoIterator<Item = T>) -> Self {
        let fleet_refs = fleet_refs.into_iter().map(Into::into).collect();
        Self {
            fleet_refs: Some(fleet_refs),
            ..Self::default()
        }
    }

    /// This fraction is sent twice: the second time some place later among the fleet's deliveries.
    #[must_use]
    pub fn repeat(self, fraction: f64) -> Self {
        Self {
            repeat: fraction,
            ..self
        }
    }

    /// This fraction comes after a later event of the same fleet, by swapping places; at least one
    /// child before its parent. At most half of a fleet's events can swap.
    #[must_use]
    pub fn overtake(self, fraction: f64) -> Self {
        Self {
            overtake: fraction,
            ..self
        }
    }

    /// This fraction is held back that long, while the fleet's other events go on.
    #[must_use]
    pub fn delay(self, fraction: f64, by: Duration) -> Self {
        Self {
            delay: fraction,
            delay_by: by,
            ..self
        }
    }

    /// This fraction is damaged on its first attempt.
    #[must_use]
    pub fn corrupt(self, fraction: f64) -> Self {
        Self {
            corrupt: fraction,
            ..self
        }
    }

    /// This fraction carries a timestamp that far in the past, correctly signed.
    #[must_use]
    pub fn late(self, fraction: f64, by: Duration) -> Self {
        Self {
            late: fraction,
            late_by: by,
            ..self
        }
    }

    /// So many forged deliveries come on top: copies of genuine events with an id of their own and
    /// a foreign key.
    #[must_use]
    pub fn forged(self, fraction: f64) -> Self {
        Self {
            forged: fraction,
            ..self
        }
    }

    /// The same seed gives the same order and the same faults; ids and times are always new.
    /// Without one, each run has its own, and the report tells it.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// So many fleets travel at the same time (8 unless told).
    #[must_use]
    pub fn concurrency(self, fleets: usize) -> Self {
        Self {
            concurrency: fleets,
            ..self
        }
    }
}

/// What a scenario sent and what became of it. Forged deliveries count in `forged`, `attempts`,
/// `statuses`, `unanswered` and `response_ms` only.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The seed, to run the same again.
    pub seed: u64,
    /// Genuine events.
    pub events: usize,
    /// Deliveries of genuine events: the events and the repeats, once for each subscription that gets them.
    pub deliveries: usize,
    /// Deliveries answered 2xx.
    pub accepted: usize,
    /// Deliveries answered neither 2xx nor 5xx: lost, because Catena takes them as delivered
    /// (contract 6.4).
    pub refused: usize,
    /// Deliveries that ended in the dead letter queue.
    pub dead_letters: usize,
    /// Deliveries that were never sent ([`Simulator::set_webhook_loss`](crate::Simulator::set_webhook_loss)).
    pub lost: usize,
    /// Deliveries that repeat an earlier one.
    pub repeated: usize,
    /// Events sent after a later one of the same fleet; delays and retries may add more on the way.
    pub overtaken: usize,
    /// Deliveries held back.
    pub delayed: usize,
    /// Deliveries damaged on their first attempt.
    pub corrupted: usize,
    /// Deliveries with an old timestamp.
    pub late: usize,
    /// Deliveries with a foreign key.
    pub forged: usize,
    /// HTTP requests.
    pub attempts: usize,
    /// Answers by status, of all attempts.
    pub statuses: BTreeMap<u16, usize>,
    /// Attempts without an answer: timed out, or nothing there.
    pub unanswered: usize,
    /// Of the attempts with an answer.
    pub response_ms: ResponseTimes,
    /// How long the scenario took.
    pub elapsed_ms: u64,
    /// The fleets, in the order of their references.
    pub fleets: Vec<FleetSummary>,
    /// Every delivery; those of one fleet in the order in which they ended.
    #[serde(skip)]
    pub sent: Vec<Sent>,
}

/// Response times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ResponseTimes {
    /// The median.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What a test needs to find a fleet again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetSummary {
    /// The partner's name for the fleet, new in every run.
    pub fleet_ref: String,
    /// Catena's name for the fleet.
    pub fleet_id: Uuid,
    /// The invitation.
    pub invitation_id: Uuid,
    /// The connection.
    pub connection_id: Uuid,
}

/// # Errors
///
/// If a fleet that should be invited has no active invitation.
pub(crate) async fn run(
    webhooks: &Arc<Webhooks>,
    organisation: &Organisation,
    scenario: &Scenario,
) -> Result<Report, FleetError> {
    let started = std::time::Instant::now();
    let seed = scenario
        .seed
        .unwrap_or_else(|| rand::random::<u32>().into());
    let now = OffsetDateTime::now_utc();
    let travellers = match &scenario.fleet_refs {
        Some(fleet_refs) => organisation.carry_on(fleet_refs)?,
        None => {
            let travellers = made_up(scenario.fleets, now);
            organisation.adopt(travellers.iter().map(|(fleet, _)| fleet));
            travellers
        }
    };
    // Nothing is told before it happened.
    for (_, events) in &travellers {
        if let Some(last) = events.last() {
            last.due().await;
        }
    }
    let journeys = plan(scenario, travellers, seed, now);
    let events = journeys.iter().map(|journey| journey.events).sum();
    let overtaken = journeys.iter().map(|journey| journey.overtaken).sum();
    let fleets = journeys
        .iter()
        .map(|journey| summary(&journey.fleet))
        .collect();

    let travels = journeys
        .into_iter()
        .map(|journey| travel(Arc::clone(webhooks), journey.steps));
    let mut travels = stream::iter(travels).buffer_unordered(scenario.concurrency.max(1));
    let (mut sent, mut held_back) = (Vec::new(), Vec::new());
    while let Some((on_time, held)) = travels.next().await {
        sent.extend(on_time);
        held_back.push(held);
    }
    for held in held_back {
        sent.extend(held.join_all().await.into_iter().flatten());
    }
    Ok(report(
        seed,
        events,
        fleets,
        overtaken,
        started.elapsed(),
        sent,
    ))
}

async fn travel(webhooks: Arc<Webhooks>, steps: Vec<Step>) -> (Vec<Sent>, JoinSet<Vec<Sent>>) {
    let (mut sent, mut held) = (Vec::new(), JoinSet::new());
    for Step {
        envelope,
        faults,
        repeat,
    } in steps
    {
        let webhooks = Arc::clone(&webhooks);
        let delivery = async move { webhooks.deliver_once(&envelope, faults, repeat).await };
        if faults.delay.is_zero() {
            sent.extend(delivery.await);
        } else {
            held.spawn(delivery);
        }
    }
    (sent, held)
}

fn report(
    seed: u64,
    events: usize,
    fleets: Vec<FleetSummary>,
    overtaken: usize,
    elapsed: Duration,
    sent: Vec<Sent>,
) -> Report {
    let genuine = || sent.iter().filter(|sent| !sent.faults.forged);
    let ended = |outcome| genuine().filter(|sent| sent.outcome == outcome).count();
    let with = |fault: fn(&Sent) -> bool| sent.iter().filter(|sent| fault(sent)).count();
    let attempts = || sent.iter().flat_map(|sent| &sent.attempts);
    let mut statuses = BTreeMap::new();
    let mut times = Vec::new();
    for attempt in attempts() {
        if let Answer::Status(status) = attempt.answer {
            *statuses.entry(status).or_default() += 1;
            times.push(attempt.response_ms);
        }
    }
    Report {
        seed,
        events,
        deliveries: genuine().count(),
        accepted: ended(Outcome::Accepted),
        refused: ended(Outcome::Refused),
        dead_letters: ended(Outcome::DeadLetter),
        lost: ended(Outcome::Lost),
        repeated: with(|sent| sent.repeat),
        overtaken,
        delayed: with(|sent| !sent.faults.delay.is_zero()),
        corrupted: with(|sent| sent.faults.corrupt),
        late: with(|sent| !sent.faults.late.is_zero()),
        forged: with(|sent| sent.faults.forged),
        attempts: attempts().count(),
        unanswered: attempts().count() - times.len(),
        statuses,
        response_ms: response_times(times),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        fleets,
        sent,
    }
}

fn summary(fleet: &Fleet) -> FleetSummary {
    FleetSummary {
        fleet_ref: fleet.fleet_ref.clone(),
        fleet_id: fleet.fleet_id,
        invitation_id: fleet.invitation_id,
        connection_id: fleet.connection_id,
    }
}

fn response_times(mut times: Vec<f64>) -> ResponseTimes {
    times.sort_by(f64::total_cmp);
    let at_most =
        |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1));
    let at_most = |percent| at_most(percent).copied().unwrap_or_default();
    ResponseTimes {
        p50: at_most(50),
        p99: at_most(99),
        max: at_most(100),
    }
}

/// A fleet and what happens to it, in the order in which it happens.
type Traveller = (Fleet, Vec<Envelope>);

/// What one fleet's deliveries will be, in order.
struct Journey {
    fleet: Fleet,
    /// How many of the deliveries are events of their own.
    events: usize,
    steps: Vec<Step>,
    overtaken: usize,
}

#[derive(Clone)]
struct Step {
    envelope: Envelope,
    faults: Faults,
    repeat: bool,
}

/// Fleets of the scenario's own, each with its events.
fn made_up(fleets: usize, now: OffsetDateTime) -> Vec<Traveller> {
    let run: u32 = rand::random();
    let first_invited_at = now - events::ONBOARDING - MARGIN;
    let fleet = |number: usize| {
        let earlier = Duration::from_millis(u64::try_from(number).unwrap_or_default());
        let fleet_ref = format!("FLEET-{run:08x}-{:03}", number + 1);
        let fleet = Fleet::new(&fleet_ref, first_invited_at - earlier);
        let events = events::onboarding(&fleet);
        (fleet, events)
    };
    (0..fleets).map(fleet).collect()
}

fn plan(
    scenario: &Scenario,
    travellers: Vec<Traveller>,
    seed: u64,
    now: OffsetDateTime,
) -> Vec<Journey> {
    let rng = &mut StdRng::seed_from_u64(seed);
    // All fleets have the same number of events: those after the invitation, or all of them.
    let steps = travellers.first().map_or(1, |(_, events)| events.len());
    let events = travellers.len() * steps;
    let target = count(scenario.overtake, events);
    let orders = orders(rng, travellers.len(), steps, target);
    let mut pick = |fraction| index::sample(rng, events, count(fraction, events)).into_vec();
    let repeated = pick(scenario.repeat);
    let delayed = pick(scenario.delay);
    let corrupted = pick(scenario.corrupt);
    let late = pick(scenario.late);
    let forged = pick(scenario.forged);

    let mut journeys = Vec::new();
    for ((fleet, events), order) in travellers.into_iter().zip(&orders) {
        let step = |&event: &usize| Step {
            envelope: events[event].clone(),
            faults: Faults::default(),
            repeat: false,
        };
        journeys.push(Journey {
            events: events.len(),
            steps: order.iter().map(step).collect(),
            overtaken: overtaken(order),
            fleet,
        });
    }
    // An event is the n-th step of its journey here; only then do repeats and forgeries move
    // places.
    let faults = |journeys: &mut Vec<Journey>, places: Vec<usize>, set: &dyn Fn(&mut Faults)| {
        for place in places {
            set(&mut journeys[place / steps].steps[place % steps].faults);
        }
    };
    faults(&mut journeys, delayed, &|faults| {
        faults.delay = scenario.delay_by
    });
    faults(&mut journeys, corrupted, &|faults| faults.corrupt = true);
    faults(&mut journeys, late, &|faults| {
        faults.late = scenario.late_by
    });
    let mut extra = Vec::new();
    for place in repeated {
        let step = &journeys[place / steps].steps[place % steps];
        let again = Step {
            envelope: step.envelope.clone(),
            faults: Faults::default(),
            repeat: true,
        };
        extra.push((place / steps, again));
    }
    for place in forged {
        let Envelope {
            event_name,
            data,
            fleet_ref,
            ..
        } = &journeys[place / steps].steps[place % steps].envelope;
        let envelope = Envelope {
            fleet_ref: fleet_ref.clone(),
            ..envelope(event_name, data.clone(), now)
        };
        let faults = Faults {
            forged: true,
            ..Faults::default()
        };
        extra.push((
            place / steps,
            Step {
                envelope,
                faults,
                repeat: false,
            },
        ));
    }
    for (journey, step) in extra {
        let steps = &mut journeys[journey].steps;
        let original = steps
            .iter()
            .position(|original| original.envelope.id == step.envelope.id);
        let earliest = original.map_or(0, |original| original + 1);
        let place = rng.random_range(earliest..=steps.len());
        steps.insert(place, step);
    }
    journeys
}

/// The order of each fleet's events: nominal, but for swaps until enough events are overtaken.
fn orders(rng: &mut StdRng, fleets: usize, steps: usize, target: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![(0..steps).collect::<Vec<_>>(); fleets];
    let pairs = (0..steps).flat_map(|i| (i + 1..steps).map(move |j| (i, j)));
    let mut swaps: Vec<_> = (0..fleets)
        .flat_map(|fleet| pairs.clone().map(move |(i, j)| (fleet, i, j)))
        .collect();
    swaps.shuffle(rng);
    // A connection before the fleet was accepted: its receiver can't know yet whose it is.
    if let Some(child_first) = swaps
        .iter()
        .position(|&(_, i, j)| i + ACCEPTED_FROM_END <= steps && j + CONNECTION_FROM_END >= steps)
    {
        swaps.swap(0, child_first);
    }
    let mut total = 0;
    for (fleet, i, j) in swaps {
        if total >= target {
            break;
        }
        let order = &mut orders[fleet];
        if order[i] == i && order[j] == j {
            total -= overtaken(order);
            order.swap(i, j);
            total += overtaken(order);
        }
    }
    orders
}

/// How many of a fleet's events come after a later one.
fn overtaken(order: &[usize]) -> usize {
    let comes_late = |place: &usize| {
        order[..*place]
            .iter()
            .any(|&earlier| earlier > order[*place])
    };
    (0..order.len()).filter(comes_late).count()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts"
)]
fn count(fraction: f64, of: usize) -> usize {
    (of as f64 * fraction.clamp(0.0, 1.0)).round() as usize
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let fraction = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&fraction) {
        return Ok(fraction);
    }
    Err(D::Error::custom(format!(
        "{fraction} isn't a fraction: give a number from 0 to 1"
    )))
}

/// Journeys end alike: acceptance, agreement, connection, fleet connection.
const ACCEPTED_FROM_END: usize = 4;
const CONNECTION_FROM_END: usize = 2;
/// The last event lies this far in the past, so that no envelope comes from the future.
const MARGIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything of a plan but ids and times.
    fn outline(scenario: &Scenario, seed: u64) -> Vec<Vec<(String, Faults, bool)>> {
        let step = |Step {
                        envelope,
                        faults,
                        repeat,
                    }: Step| (envelope.event_name, faults, repeat);
        let now = OffsetDateTime::now_utc();
        let journeys = plan(scenario, made_up(scenario.fleets, now), seed, now);
        journeys
            .into_iter()
            .map(|journey| journey.steps.into_iter().map(step).collect())
            .collect()
    }

    fn everything() -> Scenario {
        Scenario::onboarding(20)
            .repeat(0.1)
            .overtake(0.1)
            .corrupt(0.1)
            .forged(0.1)
            .delay(0.1, Duration::from_secs(1))
            .late(0.1, Duration::from_hours(1))
    }

    #[test]
    fn same_seed_gives_the_same_order_and_faults() {
        assert_eq!(outline(&everything(), 7), outline(&everything(), 7));
        assert_ne!(outline(&everything(), 7), outline(&everything(), 8));
    }

    #[test]
    fn fractions_are_met() {
        for seed in 0..20 {
            let steps = outline(&everything(), seed)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>();
            let with = |fault: fn(&Faults) -> bool| {
                steps.iter().filter(|(_, faults, _)| fault(faults)).count()
            };
            assert_eq!(steps.iter().filter(|(_, _, repeat)| *repeat).count(), 12);
            assert_eq!(with(|faults| faults.corrupt), 12);
            assert_eq!(with(|faults| faults.forged), 12);
            assert_eq!(with(|faults| !faults.delay.is_zero()), 12);
            assert_eq!(with(|faults| !faults.late.is_zero()), 12);
            assert_eq!(steps.len(), 120 + 12 + 12);
        }
    }

    #[test]
    fn enough_events_are_overtaken_and_a_child_comes_before_its_parent() {
        for seed in 0..20 {
            let orders = orders(&mut StdRng::seed_from_u64(seed), 20, 6, 12);
            let total: usize = orders.iter().map(|order| overtaken(order)).sum();
            assert!((12..=16).contains(&total), "{total}");
            let place = |order: &[usize], event| order.iter().position(|&e| e == event);
            let child_first = |order: &&Vec<usize>| {
                let (accepted, connection) = (2, 4);
                let parent = place(order, accepted);
                place(order, connection) < parent || place(order, connection + 1) < parent
            };
            assert!(orders.iter().any(|order| child_first(&order)));
        }
    }

    #[test]
    fn shorter_journeys_have_a_child_before_its_parent_too() {
        for seed in 0..20 {
            let orders = orders(&mut StdRng::seed_from_u64(seed), 4, 5, 1);
            let (accepted, connection) = (1, 3);
            let place = |order: &[usize], event| order.iter().position(|&e| e == event);
            let child_first = |order: &&Vec<usize>| {
                place(order, connection).min(place(order, connection + 1)) < place(order, accepted)
            };
            assert!(orders.iter().any(|order| child_first(&order)));
        }
    }

    #[test]
    fn no_fault_means_the_nominal_sequence() {
        let journey = &outline(&Scenario::onboarding(1), 7)[0];
        let names: Vec<_> = journey.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "invitation.created",
                "invitation.viewed",
                "invitation.accepted",
                "share_agreement.created",
                "connection.created",
                "fleet_connection.created"
            ]
        );
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let times = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            response_times(times),
            ResponseTimes {
                p50: 100.0,
                p99: 198.0,
                max: 200.0
            }
        );
        assert_eq!(response_times(Vec::new()), ResponseTimes::default());
    }
}
