//! What is known about a fleet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Agreement, At, ConnectionState, Decision, Fact, Observation, Register, Timestamp};

/// The form of the facts that this version writes. A record of a later form is never rewritten by this one.
pub const SCHEMA: u32 = 1;

/// All that was observed about a fleet: per fact the newest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The fleet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Register<String>>,
    /// The fleet's id at Catena.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catena_fleet: Option<Register<String>>,
    /// Its invitations, by hash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub invitations: BTreeMap<String, InvitationFacts>,
    /// Its share agreements, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agreements: BTreeMap<String, Register<Agreement>>,
    /// Its connections, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, ConnectionFacts>,
}

/// What is known about an invitation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationFacts {
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Register<Decision>>,
    /// When the fleet last opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewed: Option<At>,
    /// When it was last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<At>,
    /// When its link stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Register<Timestamp>>,
}

/// What is known about a connection, and the fleet's relation to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFacts {
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Register<ConnectionState>>,
    /// The provider's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Register<String>>,
    /// When the fleet's data was last said to flow through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked: Option<At>,
    /// Its schedules: whether each stopped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, Register<bool>>,
}

impl Facts {
    /// Takes an observation in. A join: order and repeats don't matter.
    #[must_use]
    pub fn fold(mut self, observation: &Observation) -> Self {
        let at = observation.at;
        match &observation.fact {
            Fact::Decision {
                invitation,
                decision,
            } => {
                let slot = &mut self.invitation(invitation).decision;
                Register::observe(slot, at, decision.clone());
            }
            Fact::Viewed { invitation } => latest(&mut self.invitation(invitation).viewed, at),
            Fact::Sent { invitation } => latest(&mut self.invitation(invitation).sent, at),
            Fact::InvitationEnds { invitation, ends } => {
                Register::observe(&mut self.invitation(invitation).ends, at, *ends);
            }
            Fact::Name(name) => Register::observe(&mut self.name, at, name.clone()),
            Fact::CatenaFleet(id) => Register::observe(&mut self.catena_fleet, at, id.clone()),
            Fact::Agreement { id, agreement } => {
                let mut slot = self.agreements.remove(id);
                Register::observe(&mut slot, at, agreement.clone());
                self.agreements.extend(slot.map(|slot| (id.clone(), slot)));
            }
            Fact::ConnectionState { connection, state } => {
                let slot = &mut self.connection(connection).state;
                Register::observe(slot, at, state.clone());
            }
            Fact::ConnectionSource { connection, source } => {
                let slot = &mut self.connection(connection).source;
                Register::observe(slot, at, source.clone());
            }
            Fact::ConnectionLinked { connection } => {
                latest(&mut self.connection(connection).linked, at);
            }
            Fact::Schedule {
                connection,
                schedule,
                stopped,
            } => {
                let schedules = &mut self.connection(connection).schedules;
                let mut slot = schedules.remove(schedule);
                Register::observe(&mut slot, at, *stopped);
                schedules.extend(slot.map(|slot| (schedule.clone(), slot)));
            }
        }
        self
    }

    /// The invitation that was decided last, which is the one that counts.
    pub fn newest_invitation(&self) -> Option<&InvitationFacts> {
        self.invitations
            .values()
            .filter(|invitation| invitation.decision.is_some())
            .max_by_key(|invitation| invitation.decision.as_ref().map(Register::at))
            .or_else(|| self.invitations.values().next())
    }

    fn invitation(&mut self, hash: &str) -> &mut InvitationFacts {
        self.invitations.entry(hash.to_owned()).or_default()
    }

    fn connection(&mut self, id: &str) -> &mut ConnectionFacts {
        self.connections.entry(id.to_owned()).or_default()
    }
}

fn latest(slot: &mut Option<At>, at: At) {
    *slot = (*slot).max(Some(at));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgreementStatus;

    fn observation(millis: i64, fact: Fact) -> Observation {
        Observation {
            at: At(Timestamp(millis), 0),
            fact,
        }
    }

    fn onboarding() -> Vec<Observation> {
        let invitation = || "hash".to_owned();
        let connection = || "connection".to_owned();
        let decision = |decision| Fact::Decision {
            invitation: invitation(),
            decision,
        };
        let agreement = |status| Fact::Agreement {
            id: "agreement".to_owned(),
            agreement: Agreement {
                status,
                scopes: None,
                effective: None,
                ends: None,
            },
        };
        vec![
            observation(1, decision(Decision::Open)),
            observation(
                2,
                Fact::Viewed {
                    invitation: invitation(),
                },
            ),
            observation(3, decision(Decision::Declined(Some("no".to_owned())))),
            observation(4, decision(Decision::Open)),
            observation(5, decision(Decision::Accepted)),
            observation(6, agreement(AgreementStatus::Active)),
            observation(
                7,
                Fact::ConnectionState {
                    connection: connection(),
                    state: ConnectionState::Active,
                },
            ),
            observation(
                8,
                Fact::ConnectionLinked {
                    connection: connection(),
                },
            ),
        ]
    }

    fn fold(observations: &[Observation]) -> String {
        let facts = observations
            .iter()
            .fold(Facts::default(), |facts, observation| {
                facts.fold(observation)
            });
        serde_json::to_string(&facts).unwrap()
    }

    #[test]
    fn order_and_repeats_give_the_same_bytes() {
        let expected = fold(&onboarding());
        let mut orders = 0;
        permute(&mut onboarding(), 0, &mut |order| {
            orders += 1;
            assert_eq!(fold(order), expected);
            let twice = [order, order].concat();
            assert_eq!(fold(&twice), expected);
        });
        assert_eq!(orders, 40_320);
    }

    #[test]
    fn of_two_values_at_one_moment_the_more_restrictive_stays() {
        for (looser, tighter) in [
            (Decision::Open, Decision::Accepted),
            (Decision::Accepted, Decision::Declined(None)),
        ] {
            let of = |decision: &Decision| {
                let decision = decision.clone();
                observation(
                    1,
                    Fact::Decision {
                        invitation: "hash".to_owned(),
                        decision,
                    },
                )
            };
            let either = [of(&looser), of(&tighter)];
            assert_eq!(fold(&either), fold(&[of(&tighter)]));
        }
    }

    fn permute(
        observations: &mut Vec<Observation>,
        from: usize,
        check: &mut impl FnMut(&[Observation]),
    ) {
        if from == observations.len() {
            return check(observations);
        }
        for index in from..observations.len() {
            observations.swap(from, index);
            permute(observations, from + 1, check);
            observations.swap(from, index);
        }
    }
}
