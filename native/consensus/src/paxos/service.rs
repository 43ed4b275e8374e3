//! Others' requests to this node's Paxos.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Result};
use tokio::sync::oneshot;

use super::configuration::{Beginning, Event, Shared, Told};
use super::links::{self, Messages, Seen};
use crate::agreement::AgreementProposal;
use crate::core::Core;
use crate::raft::types::unavailable;
use crate::wire::{self, Handler};

/// omnipaxos's messages.
pub(crate) const MESSAGES: u8 = 1;
/// A configuration later than this one.
pub(crate) const FETCH: u8 = 2;
/// A proposal, for the leader.
pub(crate) const PROPOSE: u8 = 3;
/// The state, for a node that is no member.
pub(crate) const STATE: u8 = 4;

/// Answers the requests of the service `paxos`.
pub(crate) struct PaxosService {
    pub core: Arc<Core>,
    pub shared: Arc<Shared>,
}

#[async_trait]
impl Handler for PaxosService {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        match self.answer(&from, &request).await {
            Ok(answer) => Ok(answer),
            Err(error) => wire::answer(Err::<(), Error>(error)),
        }
    }
}

impl PaxosService {
    async fn answer(&self, from: &Arc<str>, bytes: &Bytes) -> Result<Bytes> {
        let request = wire::open(bytes)?;
        let identity = &self.core.identity;
        // A node's first contact with its group is Raft's.
        if request.group != identity.group()
            || request.group == 0
            || (request.store != 0 && request.store != identity.store)
        {
            self.core.metrics.metadata.foreign.inc();
            return Err(identity.foreign(request.group, request.store));
        }
        match request.kind {
            MESSAGES => {
                let messages: Messages = wire::parse(request.head)?;
                wire::answer(Ok(self.messages(from, messages)))
            }
            FETCH => {
                let known: u32 = wire::parse(request.head)?;
                wire::answer(self.beginning(known))
            }
            PROPOSE => {
                let proposal: AgreementProposal = wire::parse(request.head)?;
                proposal.command.check()?;
                wire::answer(propose(&self.shared, proposal).await)
            }
            STATE => wire::answer(Ok((**self.shared.state.borrow()).clone())),
            kind => Err(Error::new(
                Code::MetadataVersion,
                format!("a message has the unknown kind {kind}"),
            )),
        }
    }

    /// Hands messages to the thread, where they are of its configuration and from who they say.
    fn messages(&self, from: &Arc<str>, received: Messages) -> Seen {
        let (known, sender, own) = {
            let configuration = self.shared.configuration.read();
            match &*configuration {
                None => (0, None, None),
                Some(configuration) => (
                    configuration.id,
                    configuration.number(from),
                    configuration.own(&self.core.identity),
                ),
            }
        };
        if received.configuration > known {
            self.follow(from);
        } else if received.configuration == known
            && let (Some(sender), Some(own)) = (sender, own)
        {
            let ours = received
                .messages
                .into_iter()
                .filter(|message| message.get_sender() == sender && message.get_receiver() == own)
                .collect();
            let event = Event::Messages {
                from: sender,
                configuration: known,
                gap: received.gap,
                messages: ours,
            };
            // Those that find no room are lost, as on a wire that loses.
            let _ = self.shared.events.try_send(event);
        }
        Seen {
            configuration: known,
        }
    }

    /// Gets the later configuration of who sent a message.
    fn follow(&self, from: &Arc<str>) {
        let membership = Arc::clone(&self.core.raft_metrics.borrow().membership_config);
        let member = membership
            .nodes()
            .map(|(_, member)| member)
            .find(|member| member.name == *from)
            .cloned();
        if let Some(member) = member {
            let (core, shared) = (Arc::clone(&self.core), Arc::clone(&self.shared));
            self.core.spawn(async move {
                links::fetch(&core, &shared, &member).await;
            });
        }
    }

    fn beginning(&self, known: u32) -> Result<Option<Beginning>> {
        let stored = Beginning::stored(self.core.writer.store())?;
        Ok(stored.filter(|beginning| beginning.configuration.id > known))
    }
}

/// Gives a proposal to this node's thread.
pub(crate) async fn propose(shared: &Shared, proposal: AgreementProposal) -> Result<Told> {
    let (done, answer) = oneshot::channel();
    shared
        .events
        .try_send(Event::Propose(proposal, done))
        .map_err(|_| unavailable("this node's Paxos takes no more proposals now"))?;
    answer
        .await
        .unwrap_or_else(|_| Err(unavailable("this node's Paxos gave no answer")))
}
