//! Whose token it is: TokenReview with our audience.
//!
//! The identity comes from the review's user name alone; the pod that the token is bound to must be known, be the one of that
//! UID, and run as that service account. Tokens are never logged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use minimesh_index::PodInfo;
use tokio::time::timeout;
use tonic::Status;

use super::budget::Budget;
use super::reflect::in_words;
use crate::metrics::Metrics;
use crate::publish::Publisher;

/// Asks the API server about tokens.
#[derive(Clone)]
pub(crate) struct Reviewer {
    client: Client,
    budget: Budget,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reviewer")
    }
}

/// Who a token was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bearer {
    namespace: String,
    service_account: String,
    pod: String,
    uid: String,
}

impl Reviewer {
    /// One that asks through this client.
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>) -> Reviewer {
        Reviewer { client, budget: Budget::new(), metrics }
    }

    /// The pod that the token is bound to, which runs as the service account that it names. `from`: who presents it.
    pub(crate) async fn pod(&self, token: &str, from: IpAddr, publisher: &Publisher) -> Result<PodInfo, Status> {
        let bearer = self.bearer(token, from).await?;
        let pod = publisher.pod(&bearer.namespace, &bearer.pod).await;
        let pod = pod.map_err(|error| Status::unavailable(error.to_string()))?;
        check(&bearer, pod)
    }

    async fn bearer(&self, token: &str, from: IpAddr) -> Result<Bearer, Status> {
        let _turn = self.budget.take(from).await.map_err(|exhausted| {
            self.metrics.reviews_refused.increment();
            Status::resource_exhausted(exhausted.to_string())
        })?;
        self.metrics.reviews.increment();
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.trim().to_owned()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = timeout(ANSWER, api.create(&PostParams::default(), &review)).await;
        let silent = |_| Status::unavailable("TokenReview: the API server did not answer in time");
        let failed = |error: kube::Error| Status::unavailable(format!("TokenReview: {}", in_words(&error)));
        let answer = answer.map_err(silent)?.map_err(failed)?;
        bearer(answer.status.unwrap_or_default()).map_err(Status::unauthenticated)
    }
}

fn bearer(status: TokenReviewStatus) -> Result<Bearer, String> {
    if status.authenticated != Some(true) {
        let reason = status.error.filter(|error| !error.is_empty()).unwrap_or_else(|| "not known".to_owned());
        return Err(format!("the API server refuses the token: {reason}"));
    }
    // A server that knows no audiences answers with none: the token is then good for anything, and no proof.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(format!("the token is not for the audience {AUDIENCE}"));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return Err(format!("the token is of {name:?}, which is no service account"));
    };
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| extra.get(key).and_then(|values| values.first()).filter(|value| !value.is_empty()).cloned();
    let bound = one("authentication.kubernetes.io/pod-name").zip(one("authentication.kubernetes.io/pod-uid"));
    let Some((pod, uid)) = bound else {
        return Err("the token is not bound to a pod".to_owned());
    };
    Ok(Bearer { namespace: namespace.to_owned(), service_account: service_account.to_owned(), pod, uid })
}

fn check(bearer: &Bearer, pod: Option<PodInfo>) -> Result<PodInfo, Status> {
    let Bearer { namespace, service_account, pod: name, uid } = bearer;
    // The API server knows it: our own watch is behind by a moment, and the proxy asks again.
    let unknown = || Status::unavailable(format!("pod {namespace}/{name} is not known yet"));
    let pod = pod.ok_or_else(unknown)?;
    if pod.uid.as_deref() != Some(uid) {
        return Err(unknown());
    }
    if *pod.service_account != **service_account {
        let actual = &pod.service_account;
        let message = format!("the token is of service account {service_account}, the pod {name} runs as {actual}");
        return Err(Status::permission_denied(message));
    }
    if !pod.meshed {
        return Err(Status::permission_denied(format!("pod {namespace}/{name} has no sidecar")));
    }
    Ok(pod)
}

/// What a pod's token must be for.
const AUDIENCE: &str = "identity.minimesh.io";
/// Who waits has given up by then.
const ANSWER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;
    use tonic::Code;

    use super::*;
    use crate::testing;

    fn status(user: &str, extra: &[(&str, &str)]) -> TokenReviewStatus {
        let extra =
            extra.iter().map(|(key, value)| (format!("authentication.kubernetes.io/{key}"), vec![(*value).to_owned()]));
        let user = UserInfo { username: Some(user.to_owned()), extra: Some(extra.collect()), ..UserInfo::default() };
        let audiences = Some(vec![AUDIENCE.to_owned()]);
        TokenReviewStatus { authenticated: Some(true), audiences, user: Some(user), error: None }
    }

    const USER: &str = "system:serviceaccount:shop:carts";
    const BOUND: [(&str, &str); 2] = [("pod-name", "carts-1"), ("pod-uid", "u-1")];

    #[test]
    fn a_token_with_our_audience_bound_to_a_pod_names_its_bearer() {
        let expected = Bearer {
            namespace: "shop".to_owned(),
            service_account: "carts".to_owned(),
            pod: "carts-1".to_owned(),
            uid: "u-1".to_owned(),
        };
        assert_eq!(bearer(status(USER, &BOUND)), Ok(expected));
    }

    #[test]
    fn every_other_token_is_refused_with_the_reason() {
        let good = || status(USER, &BOUND);
        let expired = Some("token has expired".to_owned());
        let cases = [
            (TokenReviewStatus { authenticated: Some(false), error: expired, ..good() }, "token has expired"),
            (TokenReviewStatus { authenticated: None, ..good() }, "refuses the token"),
            (TokenReviewStatus { audiences: None, ..good() }, "audience"),
            (TokenReviewStatus { audiences: Some(vec!["api".to_owned()]), ..good() }, "audience"),
            (status("system:node:a", &BOUND), "no service account"),
            (status("system:serviceaccount:shop", &BOUND), "no service account"),
            (status(USER, &BOUND[..1]), "not bound to a pod"),
            (status(USER, &BOUND[1..]), "not bound to a pod"),
            (status(USER, &[]), "not bound to a pod"),
        ];
        for (status, says) in cases {
            let refusal = bearer(status.clone()).unwrap_err();
            assert!(refusal.contains(says), "{status:?}: {refusal}");
        }
    }

    #[test]
    fn the_pod_must_be_there_be_that_one_and_run_as_that_account() {
        let bearer = bearer(status(USER, &BOUND)).unwrap();
        let pod = PodInfo { uid: Some("u-1".into()), ..testing::pod("carts", b"") };
        assert_eq!(check(&bearer, Some(pod.clone())).unwrap(), pod);
        let code = |pod| check(&bearer, pod).unwrap_err().code();
        assert_eq!(code(None), Code::Unavailable);
        assert_eq!(code(Some(PodInfo { uid: Some("u-2".into()), ..pod.clone() })), Code::Unavailable);
        assert_eq!(code(Some(PodInfo { uid: None, ..pod.clone() })), Code::Unavailable);
        assert_eq!(code(Some(PodInfo { service_account: "payment".into(), ..pod.clone() })), Code::PermissionDenied);
        assert_eq!(code(Some(PodInfo { meshed: false, ..pod })), Code::PermissionDenied);
    }
}
