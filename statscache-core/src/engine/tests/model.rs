//! Random streams, commits, failures and crashes: in the end, nothing is missing and nothing is
//! there twice.

use super::*;
use crate::journal::{Fault, PowerCut};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<Msg>),
    Junk,
    Commit,
    /// The store fails after so many operations; then the same commit is written again.
    CommitTwice(u64),
    /// The store fails, and the process ends.
    CommitAndCrash(u64),
    Crash,
    CatchUp,
    Advance(i64),
    FullDisk(Vec<Msg>),
    PowerCut(u64),
}

fn any_msg() -> impl Strategy<Value = Msg> {
    let secs = prop_oneof![-5..5_i64, -200..60_i64, -10_000..60_i64, -400_000..60_i64];
    let topic = prop_oneof![Just("org.example.a"), Just("org.example.b.c"), Just("org.other.a")];
    let kind = prop_oneof![Just(None), Just(Some("x")), Just(Some("é\\y")), Just(Some("")), Just(Some("none"))];
    let act = prop_oneof![9 => Just(""), 1 => Just("fail")];
    (0..80_u32, any::<bool>(), topic, kind, -3..9_i64, (secs, 0..3_i64), act).prop_map(
        |(id, with_year, topic, kind, n, (secs, micros), act)| Msg {
            id,
            with_year,
            topic,
            kind,
            n,
            time: BASE + secs * SECOND + micros * 499_999,
            act,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(any_msg(), 0..8);
    prop_oneof![
        8 => some().prop_map(Step::Send),
        1 => Just(Step::Junk),
        4 => Just(Step::Commit),
        1 => (0..4_u64).prop_map(Step::CommitTwice),
        1 => (0..4_u64).prop_map(Step::CommitAndCrash),
        2 => Just(Step::Crash),
        2 => Just(Step::CatchUp),
        3 => prop_oneof![0..3_i64, 0..600_i64, 0..40_000_i64].prop_map(Step::Advance),
        1 => some().prop_map(Step::FullDisk),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

/// The world, what runs in it, and what it must know.
struct Model {
    world: World,
    daemon: Option<Daemon>,
    now: Timestamp,
    accepted: Vec<Msg>,
}

impl Model {
    fn new() -> Self {
        let world = World::default();
        let daemon = Some(world.start(vec![sampler("main")], at(0)));
        Self { world, daemon, now: at(0), accepted: Vec::new() }
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("it runs between steps")
    }

    fn accept(&mut self, messages: Vec<Msg>) {
        for message in messages {
            // What it says decides, not only its id; nor does its time, which bridges change.
            let says = |message: &Msg| (message.id, message.topic, message.kind, message.n, message.act);
            if self.accepted.iter().all(|known| says(known) != says(&message)) {
                self.accepted.push(message);
            }
        }
    }

    fn restart(&mut self, specs: Vec<InstanceSpec>) {
        self.daemon = None;
        self.world.backend.heal();
        let daemon = self.world.start(specs, self.now);
        assert_eq!(
            daemon.engine.intake.journal.stats().next,
            self.accepted.len() as u64 + 1,
            "the journal has what was accepted"
        );
        self.daemon = Some(daemon);
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Send(messages) => {
                self.daemon().send(&messages, now);
                self.accept(messages);
            }
            Step::Junk => {
                let batch: [(&[u8], &[u8]); 4] = [
                    (b"org.example.a", b"{"),
                    (b"org.example.\xff", b"{}"),
                    (b"org.example.a", b"\xff"),
                    (b"org.example.a", b"NaNa"),
                ];
                let rejected = self.daemon().engine.ingest(batch.into_iter(), now).expect("the journal works");
                assert_eq!(rejected.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [0, 1, 2, 3]);
            }
            Step::Commit => {
                self.daemon().commit(now);
            }
            Step::CommitTwice(operations) => {
                let backend = self.world.backend.clone();
                let daemon = self.daemon();
                let mut prepared = daemon.committer.prepare(daemon.engine.take_commit(now)).expect("sound");
                backend.fail_after(operations);
                let before = daemon.committer.view().version;
                if daemon.committer.write(&mut prepared).is_err() {
                    assert_eq!(daemon.committer.view().version, before, "a failed commit is not shown");
                }
                backend.heal();
                daemon.committer.write(&mut prepared).expect("the disk works again");
                daemon.engine.commit_written();
            }
            Step::CommitAndCrash(operations) => {
                self.world.backend.fail_after(operations);
                let _ = self.daemon().try_commit(now);
                self.restart(vec![sampler("main")]);
            }
            Step::Crash => self.restart(vec![sampler("main")]),
            Step::CatchUp => {
                self.daemon().engine.catch_up(200, now).expect("the journal works");
            }
            Step::Advance(secs) => self.now = now.plus_micros(secs * SECOND),
            Step::FullDisk(messages) => {
                let dir = self.world.dir.clone();
                dir.fail_after(0, Fault::Full);
                let before = self.daemon().engine.counters();
                if self.daemon().try_send(&messages, now).is_err() {
                    assert_eq!(self.daemon().engine.counters(), before, "nothing of the batch has happened");
                }
                dir.heal();
                self.daemon().send(&messages, now);
                self.accept(messages);
            }
            Step::PowerCut(seed) => {
                self.daemon = None;
                self.world.dir = self.world.dir.power_cut(PowerCut::Random(seed));
                self.world.backend = self.world.backend.power_cut(seed as usize % 4);
                let (journal, _) =
                    Journal::open(Arc::new(self.world.dir.clone()), self.world.journal).expect("it opens");
                let left = journal.next_sequence() as usize - 1;
                assert!(left <= self.accepted.len());
                drop(journal);
                self.accepted.truncate(left);
                self.restart(vec![sampler("main")]);
            }
        }
    }

    fn finish(&mut self) {
        let now = self.now;
        self.daemon().catch_up(now);
        let view = self.daemon().commit(now);
        let context = "at the end";
        check(&self.world, &view, "main", &self.accepted, context);
        self.restart(vec![sampler("main"), sampler("late")]);
        self.daemon().catch_up(now);
        let view = self.daemon().commit(now);
        check(&self.world, &view, "main", &self.accepted, "after a restart");
        check(&self.world, &view, "late", &self.accepted, "added later");
        let cursor = |id: &str| view.instances[id].cursor;
        assert_eq!(cursor("main"), cursor("late"), "both have seen the same");
        assert_eq!(cursor("main").next, self.accepted.len() as u64 + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_message_counts_once_whatever_happens(steps in proptest::collection::vec(any_step(), 1..40)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.finish();
    }

    #[test]
    fn order_and_grouping_change_no_byte(
        (messages, shuffled) in proptest::collection::vec(any_msg(), 1..60).prop_flat_map(|mut messages| {
            for (id, message) in (0..).zip(&mut messages) {
                message.id = id;
            }
            (Just(messages.clone()), Just(messages).prop_shuffle())
        }),
        groups in proptest::collection::vec((1..9_usize, any::<bool>()), 60),
    ) {
        let run = |messages: &[Msg], groups: &[(usize, bool)]| {
            let world = World::default();
            let mut daemon = world.start(vec![sampler("main")], at(0));
            // Retention goes by the newest event; here it is not to depend on the order.
            daemon.send(&[Msg { topic: "org.nobody", ..msg(1000, 0) }], at(0));
            let mut rest = messages;
            for (len, commits) in groups {
                let (now, later) = rest.split_at((*len).min(rest.len()));
                daemon.send(now, at(0));
                if *commits {
                    daemon.commit(at(0));
                }
                rest = later;
            }
            let view = daemon.commit(at(0));
            check(&world, &view, "main", messages, "one order");
            canonical(&view, "main")
        };
        prop_assert_eq!(run(&messages, &groups), run(&shuffled, &[(60, false)]));
    }
}

/// The same on the real file system, once.
#[test]
fn a_real_disk_behaves_as_the_simulated_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = JournalConfig { segment_bytes: 4 << 10, ..JournalConfig::default() };
    let world = World::default();
    let start = |specs: Vec<InstanceSpec>| {
        let (journal, _) = Journal::open_path(&dir.path().join("journal"), config).expect("it opens");
        let backend = crate::store::SledBackend::open(&dir.path().join("state")).expect("it opens");
        let store = Store::open(Box::new(backend)).expect("it opens");
        let (engine, committer) =
            Engine::start(journal, store, specs, &identity::Naming::default(), world.limits.clone(), at(0))
                .expect("starts");
        Daemon { engine, committer }
    };
    let all: Vec<Msg> = (0..300).map(|id| msg(id, -i64::from(id))).collect();
    for (round, part) in all.chunks(70).enumerate() {
        let mut daemon = start(vec![sampler("main")]);
        daemon.catch_up(at(0));
        daemon.send(part, at(0));
        if round % 2 == 0 {
            daemon.commit(at(0));
            daemon.send(&all[..20], at(0));
        }
    }
    let mut daemon = start(vec![sampler("main"), sampler("late")]);
    daemon.catch_up(at(0));
    let view = daemon.commit(at(0));
    for id in ["main", "late"] {
        assert_eq!(contents(&view, id), recount(&all, at(0)), "{id}");
    }
}
