//! What came back for each key, kept aside until the clock has stopped.
//!
//! Comparing with SQLite takes longer than a lookup, so it is not done while time is taken.

/// One key's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The record's bytes.
    Record(&'a [u8]),
    /// There is no such row.
    Missing,
    /// The lookup failed, in a sentence.
    Failed(&'a str),
}

/// The outcomes of a number of keys, in any order of arrival.
#[derive(Debug, Default)]
pub struct Answers {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Slot {
    Pending,
    Record { start: usize, end: usize },
    Missing,
    Failed(String),
}

impl Answers {
    /// Forgets everything and expects `count` answers.
    pub fn reset(&mut self, count: usize) {
        self.slots.clear();
        self.slots.resize(count, Slot::Pending);
        self.bytes.clear();
    }

    /// Keeps a record, or `None` for a row that is not there.
    pub fn put(&mut self, index: usize, record: Option<&[u8]>) {
        let slot = match record {
            None => Slot::Missing,
            Some(record) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(record);
                Slot::Record {
                    start,
                    end: self.bytes.len(),
                }
            }
        };
        self.set(index, slot);
    }

    /// Keeps a failure.
    pub fn fail(&mut self, index: usize, why: String) {
        self.set(index, Slot::Failed(why));
    }

    fn set(&mut self, index: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(index) {
            *place = slot;
        }
    }

    /// The answer for key `index`.
    pub fn get(&self, index: usize) -> Answer<'_> {
        match self.slots.get(index) {
            Some(Slot::Record { start, end }) => Answer::Record(&self.bytes[*start..*end]),
            Some(Slot::Missing) => Answer::Missing,
            Some(Slot::Failed(why)) => Answer::Failed(why),
            Some(Slot::Pending) | None => Answer::Failed("no answer came"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_by_index() {
        let mut answers = Answers::default();
        answers.reset(4);
        answers.put(2, Some(b"two"));
        answers.put(0, Some(b"zero"));
        answers.put(1, None);
        assert_eq!(answers.get(0), Answer::Record(b"zero"));
        assert_eq!(answers.get(1), Answer::Missing);
        assert_eq!(answers.get(2), Answer::Record(b"two"));
        assert_eq!(answers.get(3), Answer::Failed("no answer came"));
        answers.fail(3, "lost".into());
        assert_eq!(answers.get(3), Answer::Failed("lost"));
        answers.reset(1);
        assert_eq!(answers.get(0), Answer::Failed("no answer came"));
    }
}
