//! Which service a topic is of.

/// Category of topics that have none.
pub const UNCLASSIFIED: &str = "unclassified";

/// The category of a topic: its fourth word, the third where it contains `VirtualTopic`, as those of the unified message
/// bus do.
pub fn category(topic: &str) -> Option<&str> {
    let position = if topic.contains("VirtualTopic") { 2 } else { 3 };
    topic.split('.').nth(position).filter(|word| !word.is_empty())
}
