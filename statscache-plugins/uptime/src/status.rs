//! Sets of HTTP statuses as operators write them.

use statscache_plugin_sdk::PluginError;

/// HTTP statuses: single ones, and classes of a hundred.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    /// Reads `401` and `2xx`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, PluginError> {
        let range = |text: &String| {
            let class =
                text.strip_suffix("xx").and_then(|class| class.parse().ok()).filter(|class| (1..=9).contains(class));
            let single = || text.parse().ok().filter(|status| (100..1000).contains(status));
            let range = class.map(|class: u16| (class * 100, class * 100 + 99));
            range.or_else(|| single().map(|status| (status, status))).ok_or_else(|| {
                PluginError::new(format!("config.good_statuses: `{text}` is no HTTP status"))
                    .with_hint("write a status such as 401, or a class such as 2xx")
            })
        };
        if texts.is_empty() {
            let error = PluginError::new("config.good_statuses is empty: no site could ever be up");
            return Err(error.with_hint("leave it out for 2xx and 3xx"));
        }
        texts.iter().map(range).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it is one of them.
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}
