//! Which mesh a command asks: the demo on this machine if one runs, else the one in the cluster; there every replica of the control
//! plane.

use std::io::{self, Write};
use std::path::PathBuf;

use futures_util::future::join_all;

use super::{Error, Source};
use crate::Failure;
use crate::cluster::{Cluster, ClusterArgs};
use crate::run_dir::{self, RunDirError};

/// Which one. Flatten this into a command's arguments.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Which {
    #[command(flatten)]
    base: run_dir::Base,
    /// The demo to ask, as the folder that it printed; without it the newest that runs, and if none does, the cluster
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    run: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A mesh to ask.
pub(crate) struct Mesh {
    /// Every control plane of it; never none.
    pub(crate) sources: Vec<Source>,
    /// Where it is, if not on this machine.
    pub(crate) cluster: Option<Cluster>,
}

impl Which {
    /// Finds it.
    pub(crate) async fn find(&self) -> Result<Mesh, Failure> {
        if self.cluster.is_given() {
            return Mesh::of(self.cluster.connect().await?).await;
        }
        let none = match self.base.find(self.run.as_deref()) {
            Ok(found) => {
                if let Some(note) = &found.note {
                    say(note);
                }
                let sources = vec![Source::at(found.run.operator_socket)];
                return Ok(Mesh { sources, cluster: None });
            }
            Err(none @ RunDirError::NotRunning { .. }) => none,
            Err(error) => return Err(error.into()),
        };
        let in_cluster = async { Mesh::of(self.cluster.connect().await?).await };
        in_cluster
            .await
            .map_err(|failure| Failure::new(format!("{none}; nor can a cluster be asked: {}", failure.message())))
    }
}

impl Mesh {
    async fn of(cluster: Cluster) -> Result<Mesh, Failure> {
        let replicas = cluster.replicas().await?;
        let source = |pod| Source::Replica { cluster: cluster.clone(), pod };
        Ok(Mesh { sources: replicas.into_iter().map(source).collect(), cluster: Some(cluster) })
    }

    /// Asks all at once. Says whose answer is missing; fails if all are.
    pub(crate) async fn ask<T>(&self, ask: impl AsyncFn(&Source) -> Result<T, Error>) -> Result<Vec<T>, Failure> {
        let (answers, mut missing) = self.ask_each(ask).await;
        if answers.is_empty()
            && let Some(error) = missing.pop()
        {
            return Err(error.into());
        }
        missing.iter().for_each(|error| say(&format!("{error}; what it alone was told is missing")));
        Ok(answers)
    }

    /// Asks all at once, and fails if an answer is missing.
    pub(crate) async fn ask_all<T>(&self, ask: impl AsyncFn(&Source) -> Result<T, Error>) -> Result<Vec<T>, Failure> {
        let (answers, mut missing) = self.ask_each(ask).await;
        missing.pop().map_or(Ok(answers), |error| Err(error.into()))
    }

    async fn ask_each<T>(&self, ask: impl AsyncFn(&Source) -> Result<T, Error>) -> (Vec<T>, Vec<Error>) {
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for answer in join_all(self.sources.iter().map(|source| ask(source))).await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => missing.push(error),
            }
        }
        (answers, missing)
    }
}

/// A closed stderr is no reason to refuse the answer.
pub(crate) fn say(note: &str) {
    let _ = writeln!(io::stderr(), "{note}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        Mesh { sources: vec![Source::at("a"), Source::at("b")], cluster: None }
    }

    async fn only_a(source: &Source) -> Result<String, Error> {
        let socket = source.to_string();
        if socket == "a" { Ok(socket) } else { Err(Error::Unanswered { socket, reason: "it sleeps".to_owned() }) }
    }

    #[tokio::test]
    async fn a_replica_that_does_not_answer_leaves_the_others_answers() {
        assert_eq!(mesh().ask(only_a).await.unwrap(), ["a"]);
        let failure = mesh().ask_all(only_a).await.unwrap_err();
        assert!(failure.message().contains("at b: it sleeps"), "{failure:?}");
    }

    #[tokio::test]
    async fn no_answer_at_all_is_a_failure() {
        let mesh = Mesh { sources: vec![Source::at("b")], cluster: None };
        assert!(mesh.ask(only_a).await.unwrap_err().message().contains("it sleeps"));
    }
}
