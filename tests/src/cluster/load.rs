//! Clients outside of the cluster, who come at a steady rate until they are told to stop.

use std::process::{Child, ChildStdin, Stdio};

use super::Cluster;
use crate::apps::{OpenLoopPlan, OpenLoopResult};
use crate::world::beside;

/// A load under way. Dropping it ends it.
pub struct Load {
    child: Child,
    end: Option<ChildStdin>,
}

impl Cluster {
    /// Clients on the network beside the nodes.
    pub fn load(&self, plan: &OpenLoopPlan) -> Load {
        let plan = serde_json::to_string(plan).expect("a plan is JSON");
        let mut command = self.outside(beside("netns-runner"), &["app", "open-loop", "--plan", &plan]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the script starts");
        let end = child.stdin.take();
        Load { child, end }
    }
}

impl Load {
    /// Ends it and says what became of all clients.
    pub fn finish(mut self) -> OpenLoopResult {
        drop(self.end.take());
        let stdout = self.child.stdout.take().expect("it is piped");
        let result = serde_json::from_reader(stdout).expect("it ends with its result");
        self.child.wait().expect("it is our child");
        result
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.end.take());
        // after finish it has ended already
        let _ = self.child.wait();
    }
}
