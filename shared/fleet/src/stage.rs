//! Where a fleet stands on its way from an invitation to flowing data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AgreementStatus, ConnectionState, Decision, Facts, Register, Timestamp};

/// Where a fleet stands. Computed on reading, since some stages end by time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Invited, nothing more known.
    Invited,
    /// Opened the invitation.
    Viewed,
    /// Accepted, no data yet.
    Accepted,
    /// Data flows.
    Connected,
    /// Data should flow, but something is wrong with every connection or the agreement is paused.
    Degraded,
    /// Data flowed once.
    Disconnected,
    /// Declined.
    Declined,
    /// The invitation ended undecided, or was taken back.
    Expired,
}

impl Stage {
    /// The stage as text, in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Viewed => "viewed",
            Self::Accepted => "accepted",
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::Disconnected => "disconnected",
            Self::Declined => "declined",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Facts {
    /// The stage at `now`.
    pub fn stage(&self, now: Timestamp) -> Stage {
        self.stage_of_connections(now)
            .unwrap_or_else(|| self.stage_of_invitation(now))
    }

    /// `None` while no connection is known to carry the fleet's data.
    fn stage_of_connections(&self, now: Timestamp) -> Option<Stage> {
        let linked = || {
            let connections = self.connections.values();
            connections.filter(|connection| connection.linked.is_some())
        };
        linked().next()?;
        // The loosest one: a fleet that renewed its agreement is not gone because the old one ended after that.
        let agreements = self.agreements.values().map(|agreement| {
            let agreement = agreement.value();
            let ended = agreement.ends.is_some_and(|ends| ends <= now);
            if ended {
                &AgreementStatus::Expired
            } else {
                &agreement.status
            }
        });
        let agreement = agreements.min();
        let state = |wanted: fn(&ConnectionState) -> bool| {
            linked().any(|connection| {
                // Catena announces no recovery but by linking the connection again (contract 6.10).
                let state = connection.state.as_ref();
                let state = state.filter(|state| Some(state.at()) >= connection.linked);
                wanted(state.map_or(&ConnectionState::Active, Register::value))
            })
        };
        Some(match agreement {
            Some(
                AgreementStatus::Cancelled
                | AgreementStatus::Deleted
                | AgreementStatus::Expired
                | AgreementStatus::Unknown(_),
            ) => Stage::Disconnected,
            Some(AgreementStatus::Paused) | None => Stage::Degraded,
            Some(AgreementStatus::Active) => {
                if state(|state| *state == ConnectionState::Active) {
                    Stage::Connected
                } else if state(|state| {
                    !matches!(state, ConnectionState::Cancelled | ConnectionState::Deleted)
                }) {
                    Stage::Degraded
                } else {
                    Stage::Disconnected
                }
            }
        })
    }

    fn stage_of_invitation(&self, now: Timestamp) -> Stage {
        let Some(invitation) = self.newest_invitation() else {
            let known = self.catena_fleet.is_some() || !self.agreements.is_empty();
            return if known {
                Stage::Accepted
            } else {
                Stage::Invited
            };
        };
        let decision = invitation.decision.as_ref();
        match decision.map(Register::value) {
            Some(Decision::Accepted) => Stage::Accepted,
            Some(Decision::Declined(_)) => Stage::Declined,
            Some(Decision::Expired | Decision::Deleted) => Stage::Expired,
            Some(Decision::Open) | None => {
                let ends = invitation.ends.as_ref().map(Register::value);
                if ends.is_some_and(|ends| *ends <= now) {
                    Stage::Expired
                } else if invitation.viewed > decision.map(Register::at) {
                    Stage::Viewed
                } else {
                    Stage::Invited
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Agreement, At, Fact, Observation};

    const NOW: Timestamp = Timestamp(1_000);

    fn stage(facts: &[(i64, Fact)]) -> Stage {
        let fold = |all: Facts, (millis, fact): &(i64, Fact)| {
            all.fold(&Observation {
                at: At(Timestamp(*millis), 0),
                fact: fact.clone(),
            })
        };
        facts.iter().fold(Facts::default(), fold).stage(NOW)
    }

    fn decision(decision: Decision) -> Fact {
        let invitation = "hash".to_owned();
        Fact::Decision {
            invitation,
            decision,
        }
    }

    fn agreement(status: AgreementStatus, ends: Option<i64>) -> Fact {
        let agreement = Agreement {
            status,
            scopes: None,
            effective: None,
            ends: ends.map(Timestamp),
        };
        Fact::Agreement {
            id: "agreement".to_owned(),
            agreement,
        }
    }

    fn linked(connection: &str) -> Fact {
        Fact::ConnectionLinked {
            connection: connection.to_owned(),
        }
    }

    fn state(connection: &str, state: ConnectionState) -> Fact {
        Fact::ConnectionState {
            connection: connection.to_owned(),
            state,
        }
    }

    #[test]
    fn an_invitation_leads_to_its_decision() {
        let open = (1, decision(Decision::Open));
        let viewed = (
            2,
            Fact::Viewed {
                invitation: "hash".to_owned(),
            },
        );
        assert_eq!(stage(&[]), Stage::Invited);
        assert_eq!(stage(std::slice::from_ref(&open)), Stage::Invited);
        assert_eq!(stage(&[viewed.clone(), open.clone()]), Stage::Viewed);
        for (decided, expected) in [
            (Decision::Accepted, Stage::Accepted),
            (Decision::Declined(None), Stage::Declined),
            (Decision::Expired, Stage::Expired),
            (Decision::Deleted, Stage::Expired),
        ] {
            let decided = (3, decision(decided));
            assert_eq!(stage(&[decided, viewed.clone(), open.clone()]), expected);
        }
    }

    #[test]
    fn a_reopened_invitation_starts_again() {
        let declined = (2, decision(Decision::Declined(None)));
        let viewed_before = (
            1,
            Fact::Viewed {
                invitation: "hash".to_owned(),
            },
        );
        let reopened = (3, decision(Decision::Open));
        assert_eq!(stage(&[reopened, declined, viewed_before]), Stage::Invited);
    }

    #[test]
    fn an_invitation_ends_by_time_alone() {
        let ends = |millis| Fact::InvitationEnds {
            invitation: "hash".to_owned(),
            ends: Timestamp(millis),
        };
        let open = (1, decision(Decision::Open));
        assert_eq!(stage(&[open.clone(), (1, ends(1_001))]), Stage::Invited);
        assert_eq!(stage(&[open, (1, ends(1_000))]), Stage::Expired);
    }

    #[test]
    fn one_live_connection_is_enough() {
        let active = (1, agreement(AgreementStatus::Active, None));
        let one = [
            (2, linked("a")),
            (2, state("a", ConnectionState::Stale)),
            active,
        ];
        assert_eq!(stage(&one), Stage::Degraded);
        let two = [one.as_slice(), &[(3, linked("b"))]].concat();
        assert_eq!(stage(&two), Stage::Connected);
        let gone = [one.as_slice(), &[(4, state("a", ConnectionState::Deleted))]].concat();
        assert_eq!(stage(&gone), Stage::Disconnected);
    }

    #[test]
    fn a_connection_that_is_linked_again_is_live_again() {
        let active = (1, agreement(AgreementStatus::Active, None));
        let stale = (3, state("a", ConnectionState::Stale));
        let before = [active.clone(), (2, linked("a")), stale.clone()];
        assert_eq!(stage(&before), Stage::Degraded);
        assert_eq!(stage(&[active, stale, (4, linked("a"))]), Stage::Connected);
    }

    #[test]
    fn a_renewed_agreement_outlives_the_end_of_the_old_one() {
        let of = |id: &str, status| {
            let Fact::Agreement { agreement, .. } = agreement(status, None) else {
                panic!("not an agreement");
            };
            Fact::Agreement {
                id: id.to_owned(),
                agreement,
            }
        };
        let renewed = (2, of("new", AgreementStatus::Active));
        let ended = (3, of("old", AgreementStatus::Deleted));
        assert_eq!(stage(&[renewed, ended, (1, linked("a"))]), Stage::Connected);
    }

    #[test]
    fn a_connection_is_worth_what_the_agreement_is() {
        for (status, ends, expected) in [
            (AgreementStatus::Active, None, Stage::Connected),
            (AgreementStatus::Active, Some(1_001), Stage::Connected),
            (AgreementStatus::Active, Some(1_000), Stage::Disconnected),
            (AgreementStatus::Paused, None, Stage::Degraded),
            (AgreementStatus::Cancelled, None, Stage::Disconnected),
            (
                AgreementStatus::Unknown("new".to_owned()),
                None,
                Stage::Disconnected,
            ),
        ] {
            let facts = [(1, agreement(status, ends)), (2, linked("a"))];
            assert_eq!(stage(&facts), expected);
        }
        assert_eq!(stage(&[(2, linked("a"))]), Stage::Degraded);
    }
}
