//! Audit checkpoints, on their way to co-signers and back.

use super::Coordinator;
use crate::message::{FromRelay, Mode, Nonce};
use bursar_domain::{
    audit::checkpoint::{CheckpointAnswer, CheckpointRequest, SignCheckpoints},
    signing::PartyIndex,
};
use tokio::{sync::oneshot, time::timeout};

#[async_trait::async_trait]
impl SignCheckpoints for Coordinator {
    fn online(&self) -> Vec<PartyIndex> {
        self.0.state().online().collect()
    }

    async fn ask(&self, party: PartyIndex, request: CheckpointRequest) -> Result<CheckpointAnswer, String> {
        let id = Nonce::random();
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.0.state();
            let asked = FromRelay::Checkpoint { id, request: Box::new(request) };
            if !state.send(Mode::Sign, party, asked) {
                return Err("it is not online".into());
            }
            state.checkpoints.insert(id, (party, sender));
        }
        let answered = timeout(self.0.deadlines.answer, answer).await;
        self.0.state().checkpoints.remove(&id);
        match answered {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err("it did not answer in time".into()),
        }
    }
}
