//! `statscache reload`, `statscache promote`: orders to a running daemon.

use serde::Deserialize;

use super::client::{self, AdminArgs};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(clap::Args)]
pub(super) struct PromoteArgs {
    /// Id of the instance
    id: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What the daemon says of a reload.
#[derive(Deserialize)]
struct Reloaded {
    added: Vec<String>,
    changed: Vec<String>,
    updated: Vec<String>,
    revived: Vec<String>,
    removed: Vec<String>,
    unchanged: Vec<String>,
    failed: Vec<String>,
    restart: Vec<String>,
}

/// And of a promotion.
#[derive(Deserialize)]
struct Promoted {
    lag: Lag,
}

#[derive(Deserialize)]
struct Lag {
    messages: u64,
}

pub(super) async fn reload(args: &Args) -> anyhow::Result<()> {
    let reloaded: Reloaded = client::post(&args.admin, "/admin/reload").await?;
    for (what, ids) in [
        ("added", &reloaded.added),
        ("changed", &reloaded.changed),
        ("updated", &reloaded.updated),
        ("revived", &reloaded.revived),
        ("removed", &reloaded.removed),
        ("unchanged", &reloaded.unchanged),
    ] {
        if !ids.is_empty() {
            println!("{what:<10} {}", ids.join(", "));
        }
    }
    for failed in &reloaded.failed {
        println!("failed     {failed}");
    }
    if !reloaded.restart.is_empty() {
        println!("only a restart changes [{}]", reloaded.restart.join("], ["));
    }
    Ok(())
}

pub(super) async fn promote(args: &PromoteArgs) -> anyhow::Result<()> {
    let path = format!("/admin/plugins/{}/promote", args.id);
    let promoted: Promoted = client::post(&args.admin, &path).await?;
    match promoted.lag.messages {
        0 => println!("{}: what was built takes the place with the next commit", args.id),
        lag => println!("{}: what was built takes the place when it has read {lag} more messages", args.id),
    }
    Ok(())
}
