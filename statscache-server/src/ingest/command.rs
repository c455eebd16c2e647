//! Orders to the thread that feeds the journal: it is the only one that has the engine's intake.

use std::sync::mpsc::{SyncSender, TrySendError};

use statscache_core::{
    engine::{InstanceSpec, Intake},
    identity::Naming,
    limits::Limits,
    view::View,
};
use tokio::sync::oneshot;

use crate::bus::QueueWaker;

/// Orders that may wait.
pub(super) const COMMANDS_MAX: usize = 16;

/// An order.
pub enum Command {
    /// Something to be done between two batches, in no time.
    Call(Box<dyn FnOnce(&mut Intake) + Send>),
    /// Go on with other instances.
    Reload(Generation),
}

/// What the fold is started with. Everything that can be wrong with it has been found out.
pub struct Generation {
    /// The instances.
    pub specs: Vec<InstanceSpec>,
    /// What tells messages apart that no id does.
    pub naming: Naming,
    /// Bounds.
    pub limits: Limits,
    /// Whether what is built waits for an order to take its place.
    pub is_held: bool,
    /// Told when it runs, before anybody sees its first view.
    pub started: Box<dyn FnOnce(&View) + Send>,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Others wait already.
    #[error("too many orders wait already; try again in a second")]
    Busy,
    /// The daemon stops.
    #[error("the daemon stops")]
    Gone,
}

/// Gives orders. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    pub(super) sender: SyncSender<Command>,
    pub(super) waker: QueueWaker,
}

impl Commands {
    /// Gives an order, and does not wait for anything.
    pub fn send(&self, command: Command) -> Result<(), CommandError> {
        self.sender.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => CommandError::Busy,
            TrySendError::Disconnected(_) => CommandError::Gone,
        })?;
        self.waker.wake();
        Ok(())
    }

    /// Has something done with the intake, and gives what comes of it.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Intake) -> T + Send + 'static,
    ) -> Result<T, CommandError> {
        let (answer, answered) = oneshot::channel();
        let call = move |intake: &mut Intake| {
            // Who asked may have left.
            let _ = answer.send(work(intake));
        };
        self.send(Command::Call(Box::new(call)))?;
        answered.await.map_err(|_| CommandError::Gone)
    }
}
