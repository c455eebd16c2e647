//! Panels and where they stand.

use serde_json::{Value, json};
use statscache_plugin_sdk::MetricDescriptor;

use super::source;

/// Points of a panel at most: with so few, an interval is a multiple of the tier that keeps the range.
pub(super) const BARS: u32 = 100;
/// Columns of a dashboard.
const COLUMNS: u32 = 24;
/// Height of a panel, and of one with text.
const HEIGHT: u32 = 8;
const TEXT_HEIGHT: u32 = 2;

/// Panels, one behind the other.
#[derive(Default)]
pub(super) struct Grid {
    pub(super) panels: Vec<Value>,
    x: u32,
    y: u32,
    height: u32,
}

impl Grid {
    /// Begins a metric: its name, and what it tells.
    pub(super) fn row(&mut self, metric: &MetricDescriptor) {
        self.feed();
        self.put(json!({"type": "row", "title": metric.name, "collapsed": false, "panels": []}), COLUMNS, 1);
        self.feed();
        if !metric.description.is_empty() {
            let options = json!({"mode": "markdown", "content": metric.description});
            self.put(
                json!({"type": "text", "title": "", "transparent": true, "options": options}),
                COLUMNS,
                TEXT_HEIGHT,
            );
            self.feed();
        }
    }

    /// Puts a panel behind the last one, on a new line if there is no room.
    pub(super) fn add(&mut self, panel: Panel) {
        if self.x + panel.width > COLUMNS {
            self.feed();
        }
        self.put(panel.json, panel.width, HEIGHT);
    }

    fn put(&mut self, mut panel: Value, width: u32, height: u32) {
        panel["id"] = json!(self.panels.len() + 1);
        panel["gridPos"] = json!({"x": self.x, "y": self.y, "w": width, "h": height});
        self.panels.push(panel);
        self.x += width;
        self.height = self.height.max(height);
    }

    fn feed(&mut self) {
        (self.x, self.y, self.height) = (0, self.y + self.height, 0);
    }
}

/// A panel and its width.
pub(super) struct Panel {
    json: Value,
    width: u32,
}

impl Panel {
    fn new(metric: &MetricDescriptor, kind: &str, title: &str, targets: Vec<Value>, width: u32) -> Self {
        let json = json!({
            "type": kind, "title": format!("{}: {title}", metric.name), "description": metric.description,
            "datasource": source(), "targets": targets,
            "fieldConfig": {"defaults": {"unit": unit(&metric.unit)}, "overrides": []},
            "options": {},
        });
        Self { json, width }
    }

    fn over_time(metric: &MetricDescriptor, title: &str, targets: &[(String, String)], custom: &Value) -> Self {
        let target = |(at, (expr, legend)): (usize, &(String, String))| {
            json!({
                "refId": format!("{}", char::from(b'A' + at as u8)), "datasource": source(), "expr": expr,
                "legendFormat": legend, "range": true, "instant": false,
            })
        };
        let mut panel =
            Self::new(metric, "timeseries", title, targets.iter().enumerate().map(target).collect(), COLUMNS / 2);
        panel.json["interval"] = json!(metric.tiers.finest().resolution.to_string());
        panel.json["maxDataPoints"] = json!(BARS);
        panel.json["fieldConfig"]["defaults"]["custom"] = custom.clone();
        panel
    }

    /// Bars that stand on each other. Each query comes with its legend.
    pub(super) fn bars(metric: &MetricDescriptor, title: &str, targets: &[(String, String)]) -> Self {
        let custom = json!({
            "drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"},
        });
        Self::over_time(metric, title, targets, &custom)
    }

    /// Lines with gaps where nothing is known.
    pub(super) fn lines(metric: &MetricDescriptor, title: &str, targets: &[(String, String)]) -> Self {
        let custom = json!({"drawStyle": "line", "lineWidth": 1, "showPoints": "auto", "spanNulls": false});
        Self::over_time(metric, title, targets, &custom)
    }

    /// The greatest of now, a bar for each.
    pub(super) fn top(metric: &MetricDescriptor, title: &str, (expr, legend): (&str, &str)) -> Self {
        let mut panel = Self::new(metric, "bargauge", title, vec![now(expr, legend, "time_series")], COLUMNS / 4);
        panel.json["options"] = json!({"orientation": "horizontal", "displayMode": "basic", "reduceOptions": last()});
        panel
    }

    /// One number.
    pub(super) fn stat(metric: &MetricDescriptor, title: &str, expr: &str) -> Self {
        let mut panel = Self::new(metric, "stat", title, vec![now(expr, "", "time_series")], COLUMNS / 4);
        panel.json["options"] = json!({"graphMode": "none", "reduceOptions": last()});
        panel
    }

    /// A row for each series.
    pub(super) fn table(metric: &MetricDescriptor, title: &str, expr: &str) -> Self {
        Self::new(metric, "table", title, vec![now(expr, "", "table")], COLUMNS)
    }
}

fn now(expr: &str, legend: &str, format: &str) -> Value {
    json!({
        "refId": "A", "datasource": source(), "expr": expr, "legendFormat": legend, "format": format,
        "range": false, "instant": true,
    })
}

fn last() -> Value {
    json!({"calcs": ["lastNotNull"], "fields": "", "values": false})
}

/// Grafana's name of a unit.
fn unit(unit: &str) -> &'static str {
    match unit {
        "bytes" => "bytes",
        "bits" => "bits",
        "seconds" => "s",
        "milliseconds" => "ms",
        "microseconds" => "µs",
        "nanoseconds" => "ns",
        "minutes" => "m",
        "hours" => "h",
        "days" => "d",
        "percent" => "percent",
        _ => "short",
    }
}
