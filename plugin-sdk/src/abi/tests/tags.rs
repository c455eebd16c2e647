//! Each tag, from the method that makes it to the update that crosses.

use super::*;

/// Numbers whose bits are not those of a neighbour.
const NUMBERS: [f64; 8] =
    [1.5, -0.0, f64::MIN_POSITIVE / 2.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -1.0];

impl Probe {
    pub(super) fn every_tag(&self, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.count, ["a", "b"], i64::MIN);
        for x in NUMBERS {
            updates.observe(self.stat, [self.known], x);
            updates.observe(self.dist, (), x);
        }
        for text in ["é\0", ""] {
            updates.insert(self.distinct, (), text);
            updates.hit(self.top, (), text, 1);
        }
        updates.hit(self.top, (), "nothing", 0);
        updates.hit(self.top, (), "much", i64::MAX as u64);
        updates.hit(self.top, (), "more than crosses", u64::MAX);
        updates.set(self.latest, (), &1)?;
        updates.set_raw(self.latest, (), " [1.50] ")?;
        updates.at(Timestamp::from_micros(-1)).remove(self.latest, ["a"]);
        Ok(())
    }
}

#[test]
fn every_tag_crosses() {
    let instance = probe();
    let (status, updates, error) = process(&instance, "tags", &[]);
    assert_eq!((status, error), (AbiStatus::OK, None));
    let mut crossed = updates.into_iter();
    let mut check = |tag: u32, metric: u32, number: i64, text: Option<&str>| {
        let update = crossed.next().expect("one more");
        let text = text.map(str::to_owned);
        assert_eq!((update.tag, update.metric, update.number, update.text.clone()), (tag, metric, number, text));
        update
    };
    check(1, 0, i64::MIN, None);
    for x in NUMBERS {
        assert_eq!(check(3, 2, x.to_bits().cast_signed(), None).labels, [Got::Handle(0)]);
        check(3, 3, x.to_bits().cast_signed(), None);
    }
    for text in ["é\0", ""] {
        check(4, 4, 0, Some(text));
        check(5, 5, 1, Some(text));
    }
    check(5, 5, i64::MAX, Some("much"));
    check(5, 5, i64::MAX, Some("more than crosses"));
    check(2, 1, 0, Some("1"));
    check(2, 1, 0, Some(" [1.50] "));
    let removal = check(6, 1, 0, None);
    assert_eq!((removal.time, removal.labels), (-1, vec![Got::Text("a".into())]));
    assert_eq!(crossed.count(), 0);
    destroy(instance);
}
