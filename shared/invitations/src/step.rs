//! What to do when a fleet is to be invited, from what is known: pure.

use fleet::{Claim, Decision, Facts, InvitationFacts, Record, Stage, Timestamp};
use serde_json::Value;
use store::{OpenPart, StoredInvitation};

use crate::inviter::LATELY;

/// How a fleet's newest invitation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// The fleet was never invited.
    Never,
    /// The fleet may decide.
    Open,
    /// The fleet accepted.
    Accepted,
    /// The fleet declined, perhaps with a reason.
    Declined(Option<String>),
    /// Its time ran out.
    Expired,
    /// It was taken back.
    Deleted,
}

impl Stands {
    /// By the facts, at a moment.
    pub fn of(facts: &Facts, now: Timestamp) -> Self {
        facts
            .newest_invitation()
            .map_or(Self::Never, |newest| Self::of_one(newest, now))
    }

    fn of_one(known: &InvitationFacts, now: Timestamp) -> Self {
        match known.stands(now) {
            Decision::Open => Self::Open,
            Decision::Accepted => Self::Accepted,
            Decision::Declined(reason) => Self::Declined(reason.clone()),
            Decision::Expired => Self::Expired,
            Decision::Deleted => Self::Deleted,
        }
    }

    /// As text.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Declined(_) => "declined",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }

    /// Whether it can lead the fleet in, or did.
    pub(crate) fn leads_in(&self) -> bool {
        matches!(self, Self::Open | Self::Accepted)
    }
}

/// What to do when a fleet is to be invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is invited as asked.
    Unchanged,
    /// It declined, and isn't to be bothered again unless somebody says so.
    Declined(Option<String>),
    /// Somebody asks Catena for it right now.
    Wait,
    /// Ask Catena; after looking at what it has, because something is known that it may have changed meanwhile, or because
    /// somebody asked and never learned the answer.
    Ask {
        /// Look first.
        look: bool,
    },
}

/// What is wanted, and what is known besides the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// What is asked for.
    pub(crate) asked: &'a Value,
    /// Where the fleet is to come back to.
    pub(crate) returns_to: &'a str,
    /// A fleet that declined is to be asked again.
    pub(crate) reopen: bool,
    /// What the fleet had is over, and it is to be asked again.
    pub(crate) anew: bool,
    /// What Catena has is taken over only if the fleet may decide about it beyond this moment.
    pub(crate) until: Timestamp,
    /// When the fleet asked by its link, if it did.
    pub(crate) opened: Option<Timestamp>,
    /// Fleets may have been invited without this stack: Catena may know of one that nothing is known of here.
    pub(crate) look_always: bool,
}

/// What to do when a fleet is to be invited; `stored` is its record, `known` whether it has one.
pub(crate) fn step(
    record: &Record,
    known: bool,
    kept: &OpenPart,
    wish: Wish<'_>,
    now: Timestamp,
) -> Step {
    if kept.is_held(now) {
        return Step::Wait;
    }
    let stands = Stands::of(&record.facts, now);
    let look = known || kept.asking.is_some() || wish.look_always;
    match &stands {
        // Somebody may have opened it again without learning that Catena did.
        Stands::Declined(reason) if !wish.reopen && kept.asking.is_none() => {
            return Step::Declined(reason.clone());
        }
        Stands::Never => return Step::Ask { look },
        _ => {}
    }
    let linked = kept.live_link(now).is_some();
    let returns = kept.returning.as_ref();
    let as_asked = kept.asked.as_ref() == Some(wish.asked)
        && kept.returns_to.as_deref() == Some(wish.returns_to)
        && returns.is_some_and(|returning| now < returning.ends)
        && kept.hash == newest_hash(&record.facts);
    if stands.leads_in() && as_asked && linked && kept.asking.is_none() && !wish.anew {
        return Step::Unchanged;
    }
    Step::Ask { look: true }
}

/// What to do when a fleet presses its link's button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    /// Nothing: its data flows.
    Nothing,
    /// Nothing: its invitation is being taken back.
    Ended,
    /// Lead it to the invitation that it has.
    Lead,
    /// Somebody asks Catena for it right now.
    Wait,
    /// Catena was asked because of a press a moment ago: not again before this.
    TooSoon(Timestamp),
    /// Ask Catena, after looking at what it has.
    Ask {
        /// What it has won't do.
        anew: bool,
    },
}

/// What to do when a fleet presses its link's button; `stage` is its record's, `returns_to` where it is to come back to. It decided
/// to press: so one that declined is asked again, and so is one whose agreement is over.
pub(crate) fn press(
    stage: Stage,
    facts: &Facts,
    kept: &StoredInvitation,
    returns_to: &str,
    now: Timestamp,
) -> Press {
    let open = &kept.open;
    if stage == Stage::Connected {
        return Press::Nothing;
    }
    if open.is_held(now) {
        return Press::Wait;
    }
    let stands = Stands::of(facts, now);
    let taking_back = open.asking.as_ref().is_some_and(|it| it == TAKING_BACK);
    // What was accepted can't be taken back any more.
    if taking_back && stands != Stands::Accepted {
        return Press::Ended;
    }
    let again = open
        .opened_at
        .map(|at| at.plus(LATELY.as_millis() as i64))
        .filter(|again| now < *again);
    let ours = open.hash == newest_hash(facts) && kept.secret.is_some();
    // Else the fleet would come back to where nobody knows it.
    let returns = open.returning.as_ref().is_some_and(|it| now < it.ends)
        && open.returns_to.as_deref() == Some(returns_to);
    let doubted = open.asking.is_some() || !returns || came_back_in_vain(facts, open);
    match (stands, again) {
        (Stands::Open, again)
            if ours && lasts_beyond(facts, now.plus(AN_HOUR)) && (again.is_some() || !doubted) =>
        {
            Press::Lead
        }
        // It was renewed by a press of these ten minutes.
        (Stands::Accepted, Some(_)) if ours => Press::Lead,
        // Reopened since, by two clocks of which one may be behind.
        (Stands::Declined(_), Some(_)) if ours && open.opened_at >= decided(facts) => Press::Lead,
        (_, Some(again)) => Press::TooSoon(again),
        // Whether the link of an accepted invitation works twice is unknown (contract 7, row 19): it is renewed.
        (stands, None) => Press::Ask {
            anew: stands == Stands::Accepted,
        },
    }
}

/// When the newest invitation was decided.
fn decided(facts: &Facts) -> Option<Timestamp> {
    let newest = facts.newest_invitation()?;
    newest.decision.as_ref().map(|it| it.at().time())
}

/// Whether the fleet came back from Connect without anything since Catena was last asked: what we know of its invitation may be
/// wrong, since nobody repeats news that got lost.
fn came_back_in_vain(facts: &Facts, open: &OpenPart) -> bool {
    let newest = facts.newest_invitation();
    let claim = newest.and_then(|newest| newest.claim.as_ref());
    claim.is_some_and(|claim| {
        matches!(claim.value(), Claim::Failed | Claim::Unclear)
            && Some(claim.at().time()) > open.asked_at
    })
}

/// Whether the newest invitation's link works beyond a moment.
pub(crate) fn lasts_beyond(facts: &Facts, moment: Timestamp) -> bool {
    let newest = facts.newest_invitation();
    let ends = newest.and_then(InvitationFacts::ends);
    ends.is_none_or(|ends| moment < ends)
}

/// The hash of the newest invitation.
pub(crate) fn newest_hash(facts: &Facts) -> Option<String> {
    let newest = facts.newest_invitation_by_hash();
    newest.map(|(hash, _)| hash.to_owned())
}

/// What is asked for by who takes an invitation back: nobody's request.
pub(crate) const TAKING_BACK: &str = "(taking it back)";
/// An invitation is used until an hour before its end, in milliseconds: a fleet needs time to find its provider's password.
pub(crate) const AN_HOUR: i64 = 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use fleet::{At, Fact, InvitationFact, Observation};
    use serde_json::json;
    use store::{Lease, Link, Returning, Sealed};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn record(decision: Decision, ends: i64) -> Record {
        let told = |was| Observation {
            at: At(Timestamp(10), 0),
            fact: Fact::Invitation {
                invitation: "hash".to_owned(),
                was,
            },
        };
        Record::default()
            .fold(&told(InvitationFact::Decision(decision)))
            .fold(&told(InvitationFact::Ends(Timestamp(ends))))
    }

    fn kept() -> OpenPart {
        OpenPart {
            hash: Some("hash".to_owned()),
            asked: Some(json!({ "a": 1 })),
            returns_to: Some("https://a.example".to_owned()),
            link: Some(Link {
                id: "link".to_owned(),
                ends: NOW.plus(1),
            }),
            returning: Some(Returning {
                name: "name".to_owned(),
                ends: NOW.plus(1),
            }),
            ..OpenPart::default()
        }
    }

    fn wish(asked: &Value) -> Wish<'_> {
        Wish {
            asked,
            returns_to: "https://a.example",
            reopen: false,
            anew: false,
            until: NOW,
            opened: None,
            look_always: false,
        }
    }

    fn decide(record: &Record, kept: &OpenPart, reopen: bool) -> Step {
        let asked = json!({ "a": 1 });
        let wish = Wish {
            reopen,
            ..wish(&asked)
        };
        step(record, *record != Record::default(), kept, wish, NOW)
    }

    #[test]
    fn what_is_as_asked_needs_no_call() {
        let open = record(Decision::Open, NOW.0 + 1);
        assert_eq!(decide(&open, &kept(), false), Step::Unchanged);
        assert_eq!(decide(&open, &kept(), true), Step::Unchanged);
        let accepted = record(Decision::Accepted, NOW.0 - 1);
        assert_eq!(decide(&accepted, &kept(), false), Step::Unchanged);
        let look = Step::Ask { look: true };
        let asked = json!({ "a": 1 });
        let anew = Wish {
            reopen: true,
            anew: true,
            ..wish(&asked)
        };
        assert_eq!(step(&accepted, true, &kept(), anew, NOW), look);
        let moved = Wish {
            returns_to: "https://b.example",
            ..wish(&asked)
        };
        assert_eq!(step(&open, true, &kept(), moved, NOW), look);
        let other = json!({});
        assert_eq!(step(&open, true, &kept(), wish(&other), NOW), look);
        let ended_link = OpenPart {
            link: None,
            ..kept()
        };
        let unsure = OpenPart {
            asking: Some(json!({ "b": 2 })),
            ..kept()
        };
        let no_way_back = OpenPart {
            returning: None,
            ..kept()
        };
        let elsewhere = OpenPart {
            hash: Some("other".to_owned()),
            ..kept()
        };
        for kept in [
            ended_link,
            no_way_back,
            unsure,
            elsewhere,
            OpenPart::default(),
        ] {
            assert_eq!(decide(&open, &kept, false), look, "{kept:?}");
        }
        assert_eq!(decide(&record(Decision::Open, NOW.0), &kept(), false), look);
        assert_eq!(
            decide(&record(Decision::Deleted, NOW.0 + 1), &kept(), false),
            look
        );
    }

    #[test]
    fn who_declined_is_asked_again_only_on_purpose() {
        let declined = record(Decision::Declined(Some("no".to_owned())), NOW.0 + 1);
        let no = Step::Declined(Some("no".to_owned()));
        assert_eq!(decide(&declined, &kept(), false), no);
        let look = Step::Ask { look: true };
        assert_eq!(decide(&declined, &kept(), true), look);
        let cut_off = OpenPart {
            asking: Some(json!({ "a": 1 })),
            ..kept()
        };
        assert_eq!(decide(&declined, &cut_off, false), look);
    }

    #[test]
    fn an_unknown_fleet_costs_one_call_unless_there_may_be_something_to_see() {
        let (never, nothing) = (Record::default(), OpenPart::default());
        assert_eq!(decide(&never, &nothing, false), Step::Ask { look: false });
        let look = Step::Ask { look: true };
        let asked = json!({ "a": 1 });
        assert_eq!(step(&never, true, &nothing, wish(&asked), NOW), look);
        let always = Wish {
            look_always: true,
            ..wish(&asked)
        };
        assert_eq!(step(&never, false, &nothing, always, NOW), look);
        let cut_off = OpenPart {
            asking: Some(json!({ "a": 1 })),
            ..OpenPart::default()
        };
        assert_eq!(decide(&never, &cut_off, false), look);
        let held = OpenPart {
            lease: Some(Lease { ends: NOW.plus(1) }),
            ..cut_off
        };
        assert_eq!(decide(&never, &held, false), Step::Wait);
        let past = OpenPart {
            lease: Some(Lease { ends: NOW }),
            ..held
        };
        assert_eq!(decide(&never, &past, false), look);
    }

    fn pressed(decision: Decision, ends: i64, change: impl FnOnce(&mut OpenPart)) -> Press {
        let mut open = kept();
        change(&mut open);
        let kept = StoredInvitation {
            version: 1,
            secret: Some(Sealed::new("{}")),
            open,
        };
        let record = record(decision, NOW.0 + ends);
        press(
            Stage::Invited,
            &record.facts,
            &kept,
            "https://a.example",
            NOW,
        )
    }

    #[test]
    fn a_press_leads_on_as_long_as_the_invitation_lasts() {
        let nothing = |_: &mut OpenPart| {};
        let ask = Press::Ask { anew: false };
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, nothing), Press::Lead);
        assert_eq!(pressed(Decision::Open, AN_HOUR, nothing), ask);
        assert_eq!(pressed(Decision::Expired, AN_HOUR + 1, nothing), ask);
        assert_eq!(pressed(Decision::Deleted, AN_HOUR + 1, nothing), ask);
        assert_eq!(pressed(Decision::Declined(None), AN_HOUR + 1, nothing), ask);
        let renewed = Press::Ask { anew: true };
        assert_eq!(pressed(Decision::Accepted, -1, nothing), renewed);
        let unsure = |open: &mut OpenPart| open.asking = Some(json!({}));
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, unsure), ask);
        let elsewhere = |open: &mut OpenPart| open.hash = Some("other".to_owned());
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, elsewhere), ask);
        // Made before there were return tokens, or when the pages were elsewhere.
        let no_way_back = |open: &mut OpenPart| open.returning = None;
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, no_way_back), ask);
        let moved = |open: &mut OpenPart| open.returns_to = Some("https://b.example".to_owned());
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, moved), ask);
        let going = |open: &mut OpenPart| open.asking = Some(json!(TAKING_BACK));
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, going), Press::Ended);
        assert_eq!(pressed(Decision::Accepted, -1, going), renewed);
    }

    #[test]
    fn who_came_back_in_vain_is_not_led_to_the_same_again_without_a_look() {
        let kept = StoredInvitation {
            version: 1,
            secret: Some(Sealed::new("{}")),
            open: OpenPart {
                asked_at: Some(Timestamp(20)),
                ..kept()
            },
        };
        let came_back = |at, claim, kept: &StoredInvitation| {
            let claimed = Observation {
                at: At(Timestamp(at), 0),
                fact: Fact::Invitation {
                    invitation: "hash".to_owned(),
                    was: InvitationFact::Claim(claim),
                },
            };
            let record = record(Decision::Open, NOW.0 + AN_HOUR + 1).fold(&claimed);
            press(Stage::Viewed, &record.facts, kept, "https://a.example", NOW)
        };
        let ask = Press::Ask { anew: false };
        assert_eq!(came_back(30, Claim::Failed, &kept), ask);
        assert_eq!(came_back(30, Claim::Unclear, &kept), ask);
        assert_eq!(came_back(30, Claim::Connected, &kept), Press::Lead);
        assert_eq!(came_back(20, Claim::Failed, &kept), Press::Lead);
        let mut lately = kept;
        lately.open.opened_at = Some(NOW);
        assert_eq!(came_back(30, Claim::Failed, &lately), Press::Lead);
    }

    #[test]
    fn presses_make_catena_be_asked_at_most_every_ten_minutes() {
        let ten = LATELY.as_millis() as i64;
        let lately = |open: &mut OpenPart| open.opened_at = Some(NOW.plus(1 - ten));
        let soon = Press::TooSoon(NOW.plus(1));
        assert_eq!(
            pressed(Decision::Open, AN_HOUR + 1, lately),
            Press::Lead,
            "needs no call"
        );
        assert_eq!(pressed(Decision::Accepted, -1, lately), Press::Lead);
        assert_eq!(
            pressed(Decision::Declined(None), AN_HOUR, lately),
            Press::Lead,
            "it was reopened since"
        );
        let again = Press::TooSoon(Timestamp(9 + ten));
        let mut kept = StoredInvitation {
            secret: Some(Sealed::new("{}")),
            open: kept(),
            ..StoredInvitation::default()
        };
        kept.open.opened_at = Some(Timestamp(9));
        let facts = record(Decision::Declined(None), 0).facts;
        let pressed_early = press(
            Stage::Declined,
            &facts,
            &kept,
            "https://a.example",
            Timestamp(11),
        );
        assert_eq!(pressed_early, again);
        assert_eq!(pressed(Decision::Expired, -1, lately), soon);
        let unsure = |open: &mut OpenPart| {
            lately(open);
            open.asking = Some(json!({}));
        };
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, unsure), Press::Lead);
        let before = |open: &mut OpenPart| open.opened_at = Some(NOW.plus(-ten));
        let ask = Press::Ask { anew: false };
        assert_eq!(pressed(Decision::Declined(None), AN_HOUR, before), ask);
        let held = |open: &mut OpenPart| open.lease = Some(Lease { ends: NOW.plus(1) });
        assert_eq!(pressed(Decision::Open, AN_HOUR + 1, held), Press::Wait);
    }

    #[test]
    fn a_press_of_a_connected_fleet_asks_nothing() {
        let record = record(Decision::Accepted, NOW.0 + 1);
        let kept = StoredInvitation::default();
        let done = press(Stage::Connected, &record.facts, &kept, "", NOW);
        assert_eq!(done, Press::Nothing);
    }
}
