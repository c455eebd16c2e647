//! A metric of every kind, each from a field of the message: what is not there says nothing.

use statscache_plugin_sdk::{
    Count, Declare, Dist, Distinct, Field, Latest, Message, Metric, Plugin, PluginError, Stat, Timestamp, Top, Updates,
    export_plugins,
};

export_plugins!(Kinds);

/// How long a lease lives.
pub const LEASE: &str = "1h";

/// The plugin `kinds`.
#[derive(Debug)]
pub struct Kinds {
    fields: Fields,
    counts: Count,
    stats: Stat,
    dists: Dist,
    members: Distinct,
    keys: Top,
    status: Latest,
    recent: Latest,
    leases: Latest,
}

/// Where each is read.
#[derive(Debug)]
struct Fields {
    label: Field,
    ahead: Field,
    add: Field,
    observe: Field,
    member: Field,
    key: Field,
    weight: Field,
    status: Field,
    remove: Field,
    lease: Field,
}

impl Plugin for Kinds {
    const ID: &'static str = "kinds";
    type Config = ();

    fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
        let metric = |name| Metric::new(name).by(["of"]);
        Ok(Self {
            fields: Fields {
                label: declare.field("/msg/of"),
                ahead: declare.field("/msg/ahead"),
                add: declare.field("/msg/add"),
                observe: declare.field("/msg/observe"),
                member: declare.field("/msg/member"),
                key: declare.field("/msg/key"),
                weight: declare.field("/msg/weight"),
                status: declare.field("/msg/status"),
                remove: declare.field("/msg/remove"),
                lease: declare.field("/msg/lease"),
            },
            counts: declare.count(metric("counts")),
            stats: declare.stat(metric("stats")),
            dists: declare.dist(metric("dists")),
            members: declare.distinct(metric("members")),
            keys: declare.top(metric("keys"), 3),
            status: declare.latest(metric("status")),
            recent: declare.newest(metric("recent"), 2),
            leases: declare.latest(metric("leases").expire_after(LEASE)),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let fields = &self.fields;
        let of = message.get(fields.label).as_text();
        let of = [of.as_deref().unwrap_or("-")];
        // Seconds after the message.
        let ahead = message.get(fields.ahead).as_i64().unwrap_or(0);
        let mut updates = updates.at(Timestamp::from_micros(message.time().micros() + ahead * 1_000_000));
        if let Some(n) = message.get(fields.add).as_i64() {
            updates.add(self.counts, of, n);
        }
        let observed = message.get(fields.observe);
        let number = match observed.as_str().as_deref() {
            Some("nan") => Some(f64::NAN),
            Some("infinity") => Some(f64::INFINITY),
            _ => observed.as_f64(),
        };
        if let Some(x) = number {
            updates.observe(self.stats, of, x);
            updates.observe(self.dists, of, x);
        }
        if let Some(member) = message.get(fields.member).as_text() {
            updates.insert(self.members, of, &member);
        }
        if let Some(key) = message.get(fields.key).as_text() {
            let weight = message.get(fields.weight).as_i64().unwrap_or(1);
            updates.hit(self.keys, of, &key, weight.unsigned_abs());
        }
        if let Some(status) = message.get(fields.status).raw() {
            updates.set_raw(self.status, of, status)?;
            updates.set_raw(self.recent, of, status)?;
        }
        if message.get(fields.remove).as_bool() == Some(true) {
            updates.remove(self.status, of);
            updates.remove(self.recent, of);
        }
        if let Some(lease) = message.get(fields.lease).raw() {
            updates.set_raw(self.leases, of, lease)?;
        }
        Ok(())
    }
}
