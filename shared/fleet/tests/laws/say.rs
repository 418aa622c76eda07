//! What is said last is what facts say.

use fleet::{At, Observation, Timestamp};

use crate::{
    history::{DAY, History},
    runner::holds,
};

#[test]
fn what_is_taken_in_later_than_all_else_is_what_the_facts_say() {
    holds("say", |history: &History, _| {
        let said = history.observations(0);
        let facts = said
            .iter()
            .fold(fleet::Facts::default(), |facts, it| facts.fold(it));
        let last = said.iter().map(|it| it.at.time()).max();
        let later = At(last.unwrap_or(Timestamp(0)).plus(DAY), 0);
        for it in &said {
            let fact = it.fact.clone();
            let now = facts.clone().fold(&Observation { at: later, fact });
            if !now.say(&it.fact) {
                return Err(format!("{:?} isn't said", it.fact));
            }
            // Whoever finds it said has no news.
            if facts.say(&it.fact) && now.len() != facts.len() {
                return Err(format!("{:?} was said and is new", it.fact));
            }
        }
        Ok(())
    });
}
