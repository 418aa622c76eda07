use super::some::{for_many, heard, pending, said, word};
use crate::{Attempt, Heard, Outcome, Said, Word};

#[test]
fn order_and_repetition_do_not_matter() {
    for_many(2000, |rng| {
        let some: Vec<Said> = (0..rng.usize(0..8)).map(|_| said(rng)).collect();
        let once = some.iter().cloned().fold(Heard::default(), Heard::fold);
        let mut again: Vec<Said> = some.iter().chain(&some).cloned().collect();
        rng.shuffle(&mut again);
        assert_eq!(again.into_iter().fold(Heard::default(), Heard::fold), once);
        let cut = rng.usize(0..=some.len());
        let (one, other) = some.split_at(cut);
        let part = |of: &[Said]| of.iter().cloned().fold(Heard::default(), Heard::fold);
        assert_eq!(part(one).join(part(other)), once);
    });
}

#[test]
fn joins_are_commutative_associative_and_idempotent() {
    for_many(2000, |rng| {
        let [a, b, c] = [heard(rng), heard(rng), heard(rng)];
        assert_eq!(a.clone().join(b.clone()), b.clone().join(a.clone()));
        assert_eq!(
            a.clone().join(b.clone()).join(c.clone()),
            a.clone().join(b.join(c))
        );
        assert_eq!(a.clone().join(a.clone()), a);
        assert_eq!(Heard::default().join(a.clone()), a);
    });
}

#[test]
fn an_end_counts_whatever_else_was_said_and_the_newest_of_two() {
    for_many(2000, |rng| {
        let some: Vec<Said> = (0..rng.usize(0..8)).map(|_| said(rng)).collect();
        let heard = some.iter().cloned().fold(Heard::default(), Heard::fold);
        let newest = |word: Word| {
            let of_word = some.iter().filter(|it| it.word == word);
            of_word.map(|it| it.at).max()
        };
        let expected = match (newest(Word::Success), newest(Word::Failed)) {
            (None, None) => None,
            // On a tie it failed: nobody then relies on what may not be.
            (success, failed) if success > failed => Some(Outcome::Success),
            _ => Some(Outcome::Failed),
        };
        assert_eq!(heard.outcome(), expected);
        assert_eq!(heard.newest().is_none(), some.is_empty());
        let contradictory = newest(Word::Success).is_some() && newest(Word::Failed).is_some();
        assert_eq!(heard.is_contradictory(), contradictory);
    });
}

#[test]
fn an_end_without_a_time_still_beats_a_later_pending() {
    let heard = Heard::default()
        .fold(word(0, Word::Success))
        .fold(pending(9));
    assert_eq!(heard.outcome(), Some(Outcome::Success));
    let unknown_word = Heard::default().fold(word(9, Word::Other("done".into())));
    assert_eq!(unknown_word.outcome(), None);
}

#[test]
fn the_error_is_that_of_the_last_attempt_that_names_one() {
    let attempt = |at: i64, error_type: Option<&str>| Attempt {
        at: Some(fleet::Timestamp(at)),
        error_type: error_type.map(str::to_owned),
        ..Attempt::default()
    };
    let mut failed = word(5, Word::Failed);
    failed.attempts = vec![
        attempt(3, Some("auth")),
        attempt(1, Some("network")),
        attempt(4, None),
    ];
    let heard = Heard::default().fold(failed);
    assert_eq!(heard.error_type(), Some("auth"));
    // What counts then is the success.
    let done = heard.fold(word(6, Word::Success));
    assert_eq!(done.error_type(), None);
}
