use std::collections::BTreeMap;

use fleet::Timestamp;

use super::some::{HOUR, MINUTE, for_many};
use crate::{Question, questions};

#[test]
fn each_is_asked_about_once_within_catenas_limits() {
    for_many(500, |rng| {
        let count = rng.usize(0..400);
        let fleets = rng.usize(1..250);
        let spread = *rng
            .choice(&[1, MINUTE, HOUR, 24 * HOUR, 2000 * HOUR])
            .unwrap();
        let all: Vec<(String, String, Timestamp)> = (0..count)
            .map(|nth| {
                let fleet = format!("FLEET-{}", rng.usize(0..fleets));
                (
                    fleet,
                    format!("catena-{nth}"),
                    Timestamp(rng.i64(0..spread)),
                )
            })
            .collect();
        let due = all
            .iter()
            .map(|(fleet, id, at)| (fleet.as_str(), "C", id.as_str(), *at));
        let known: BTreeMap<&str, _> = all
            .iter()
            .map(|(fleet, id, at)| (id.as_str(), (fleet.as_str(), *at)))
            .collect();
        let mut asked = Vec::new();
        for question in questions(due.collect()) {
            match question {
                Question::One { id, connection } => {
                    assert_eq!(connection, "C");
                    asked.push(id);
                }
                Question::Many {
                    fleets,
                    from,
                    to,
                    ids,
                } => {
                    assert!(fleets.len() <= 100 && ids.len() >= 3);
                    assert!(from <= to && to.0 - from.0 <= 12 * HOUR);
                    for id in &ids {
                        let (fleet, at) = known[id];
                        assert!(fleets.contains(&fleet) && from <= at && at <= to);
                    }
                    let distinct: std::collections::BTreeSet<_> = fleets.iter().collect();
                    assert_eq!(distinct.len(), fleets.len());
                    asked.extend(ids);
                }
            }
        }
        asked.sort_unstable();
        assert!(asked.iter().eq(known.keys()));
    });
}

#[test]
fn what_lies_far_apart_is_not_asked_for_by_one_list() {
    let at = |minutes: i64| Timestamp(minutes * MINUTE);
    let due = vec![
        ("A", "C", "1", at(0)),
        ("A", "C", "2", at(5)),
        ("B", "C", "3", at(10)),
        ("B", "C", "4", at(30)),
    ];
    let many = Question::Many {
        fleets: vec!["A", "B"],
        from: at(0),
        to: at(10),
        ids: vec!["1", "2", "3"],
    };
    let one = Question::One {
        connection: "C",
        id: "4",
    };
    assert_eq!(questions(due), [many, one]);
}
