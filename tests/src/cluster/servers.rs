//! Servers that nobody here wrote (tests/cluster/servers.yaml), started and put to use: with the mesh as without it.

#[cfg(doc)]
use super::Cluster;
use super::{Namespace, PATIENCE};

/// Images of them, for [`Cluster::has_images`].
pub const SERVERS: [&str; 3] = ["mariadb", "rabbitmq", "redis"];

impl Namespace<'_> {
    /// MariaDB, Redis, three nodes of RabbitMQ, and clients. Waits until all of them run.
    pub fn open_servers(&self) {
        self.apply(include_str!("../../cluster/servers.yaml"));
        self.rolled_out();
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["rollout", "status", "statefulset/rabbitmq", &timeout]);
    }

    /// Each server does what it is for.
    pub fn use_servers(&self) {
        let client = |container: &str, command: &[&str]| {
            self.kubectl(&[&["exec", "deployment/client", "--container", container, "--"], command].concat())
        };
        let query =
            "CREATE OR REPLACE TABLE socks (name TEXT); INSERT INTO socks VALUES ('wool'); SELECT name FROM socks";
        let credentials = ["mariadb", "--host=mariadb", "--user=tester", "--password=secret"];
        let mariadb =
            client("mariadb", &[&credentials[..], &["--skip-column-names", "tests", "--execute", query]].concat());
        assert_eq!(mariadb, "wool\n");
        assert_eq!(client("redis", &["redis-cli", "-h", "redis", "set", "socks", "wool"]), "OK\n");
        assert_eq!(client("redis", &["redis-cli", "-h", "redis", "get", "socks"]), "wool\n");
        let status = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "cluster_status", "--formatter", "json"];
        let status = self.kubectl(&[&["exec", "rabbitmq-2", "--container", "rabbitmq", "--"], &status[..]].concat());
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["running_nodes"].as_array().map(Vec::len), Some(3), "{status}");
    }
}
