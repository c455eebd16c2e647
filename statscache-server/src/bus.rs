//! The bus side of the daemon: where raw messages come from.
//!
//! A [`Source`] listens to one endpoint, turns what arrives into (topic, body) byte pairs and pushes them,
//! in [`Batch`]es, into a queue that is bounded by bytes. The engine's thread takes batches from the other end.
//!
//! Promises: a source runs until it is told to stop; nothing a peer sends or omits ends it, makes it allocate
//! beyond its [limits](decode::MessageLimits) or spin; what is lost is counted, per endpoint ([`EndpointStatus`]),
//! in the queue ([`QueueStats`]) or by kind ([`Rejects`]). What a numbered endpoint did not deliver is asked for
//! ([`ReplaySource`]).
//!
//! It does not know: what a body means (JSON is the engine's), topic patterns, identity and duplicates, the
//! clock (it is handed a [`NowFn`]). It never loses order within one connection, and promises none between two.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

mod backoff;
mod batch;
mod coverage;
pub mod decode;
mod endpoint;
pub mod publish;
mod queue;
mod rejects;
mod replay;
mod status;
pub mod zeromq;
pub mod zmtp;

pub use batch::Batch;
pub use coverage::{Claims, CoverageWatch};
pub use endpoint::{Endpoint, EndpointError, EndpointMode, Transport};
pub use publish::{PublishError, Publisher};
pub use queue::{BatchReceiver, BatchSender, QueueClosed, QueueStats, QueueWaker, Recv, WhenFull, queue};
pub use rejects::{RejectKind, Rejected, RejectedBytes, Rejects};
pub use replay::{ReplayConfig, ReplayPositions, ReplaySnapshot, ReplaySource, ReplayStatus};
pub use status::{EndpointSnapshot, EndpointState, EndpointStatus, SourceStats};
pub use zeromq::{ZeromqConfig, ZeromqSource};
pub use zmtp::{ZmtpConfig, ZmtpSource};

/// The time, in µs since the Unix epoch. Injected, so that this module has no clock of its own;
/// monotonic deadlines (handshake, backoff, watchdog) use tokio's clock instead.
pub type NowFn = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What [`Source::run`] returns: done when the source was told to stop or nobody takes its batches any more.
pub type SourceFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where raw messages come from: one endpoint of the bus.
///
/// The seam between the daemon and a transport: the project's own ZMTP reader ([`ZmtpSource`]), the `zeromq` crate
/// ([`ZeromqSource`]); an AMQP reader would be a third.
pub trait Source: Send {
    /// Listens until `stop` holds `true` (or its sender is gone), or until the receiving end of `sink` is gone.
    /// Trouble with a peer is shown in the status and tried again, never returned.
    fn run(self: Box<Self>, sink: BatchSender, stop: watch::Receiver<bool>) -> SourceFuture;

    /// What is known about the endpoint; may be kept and read from anywhere, before, during and after the run.
    fn status(&self) -> Arc<EndpointStatus>;
}

/// Waits until `stop` holds `true` or its sender is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: nobody could ever stop us any more, so that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
