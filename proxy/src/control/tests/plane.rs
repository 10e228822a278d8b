//! A control plane that says what the test says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use minimesh_api::grpc::discovery_server::{Discovery, DiscoveryServer};
use minimesh_api::grpc::identity_server::{Identity, IdentityServer};
use minimesh_api::grpc::telemetry_server::{Telemetry, TelemetryServer};
use minimesh_api::grpc::{self, watch_response};
use minimesh_api::model::{self, ResourceKey};
use minimesh_api::wire::{Certified, Certify, Hello, Report, Request, Response, State, Update};
use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, Leaf, PrivateKey, SpiffeId, TicketKeys, TrustBundle, control, peer_id};
use rustls::ServerConfig;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Status, Streaming};
use tower::ServiceExt;

use super::{LIFE, front_end};

/// The control plane's side of a story.
pub(super) struct Plane {
    pub(super) authority: Arc<Authority>,
    up: watch::Sender<Option<Arc<ServerConfig>>>,
    refused: mpsc::UnboundedReceiver<Instant>,
    certify: mpsc::UnboundedReceiver<CertifyCall>,
    reports: mpsc::UnboundedReceiver<ReportCall>,
    streams: mpsc::UnboundedReceiver<WatchCall>,
}

/// Who every proxy expects.
pub(super) fn identity() -> SpiffeId {
    SpiffeId::new("cluster.local", "minimesh", "minimesh-control-plane").expect("valid")
}

impl Plane {
    pub(super) fn new() -> (Plane, mpsc::Sender<DuplexStream>) {
        let authority = Arc::new(Authority::create("cluster.local").expect("an authority"));
        let (up, is_up) = watch::channel(Some(server_config(&authority, &authority)));
        let (dialer, dials) = mpsc::channel(1);
        let (refuse, refused) = mpsc::unbounded_channel();
        let (certify, certify_calls) = mpsc::unbounded_channel();
        let (report, reports) = mpsc::unbounded_channel();
        let (watch, streams) = mpsc::unbounded_channel();
        let services = Services { authority: Arc::clone(&authority), certify, report, watch };
        tokio::spawn(accept(dials, is_up, refuse, services));
        (Plane { authority, up, refused, certify: certify_calls, reports, streams }, dialer)
    }

    pub(super) fn bundle(&self) -> TrustBundle {
        self.authority.bundle().expect("has a root")
    }

    /// Every connection breaks, new ones are refused.
    pub(super) fn stop(&self) {
        self.up.send_replace(None);
    }

    /// A new process of the same authority.
    pub(super) fn start(&self) {
        self.up.send_replace(Some(server_config(&self.authority, &self.authority)));
    }

    /// Someone else answers at this address.
    pub(super) fn impersonate(&self, other: &Authority) {
        self.up.send_replace(Some(server_config(other, other)));
    }

    /// Comes back with a certificate that has expired.
    pub(super) fn expire(&self) {
        let long_ago = SystemTime::now() - Duration::from_secs(120);
        let key = PrivateKey::generate().expect("a key");
        let csr = key.csr(None).expect("a request");
        let chain = self.authority.issue_at(&csr, &identity(), Duration::from_secs(60), long_ago).expect("issued");
        self.up.send_replace(Some(config_of(Leaf::new(chain, key).expect("a leaf"), self.bundle())));
    }

    /// When the next attempt to connect was refused.
    pub(super) async fn attempt(&mut self) -> Instant {
        self.refused.recv().await.expect("the proxy dials")
    }

    pub(super) async fn certify(&mut self) -> CertifyCall {
        self.certify.recv().await.expect("the proxy asks")
    }

    pub(super) async fn no_certify_within(&mut self, time: Duration) {
        let call = timeout(time, self.certify.recv()).await;
        assert!(call.is_err(), "the proxy asked for a certificate");
    }

    pub(super) async fn report(&mut self) -> ReportCall {
        self.reports.recv().await.expect("the proxy reports")
    }

    pub(super) async fn no_report_within(&mut self, time: Duration) {
        assert!(timeout(time, self.reports.recv()).await.is_err(), "the proxy reported");
    }

    /// The next stream, hellos exchanged.
    pub(super) async fn stream(&mut self) -> Stream {
        let WatchCall { requests, responses } = self.streams.recv().await.expect("the proxy opens a stream");
        let mut stream = Stream { requests, responses };
        stream.respond(Response::Hello(Hello::new([9; 16]))).await;
        assert!(matches!(stream.said().await, Request::Hello(_)));
        stream
    }
}

/// A stream as the control plane sees it. Dropping it ends the stream in good order.
pub(super) struct Stream {
    requests: Streaming<grpc::WatchRequest>,
    responses: mpsc::Sender<Result<grpc::WatchResponse, Status>>,
}

impl Stream {
    /// What the proxy says next.
    pub(super) async fn said(&mut self) -> Request {
        let request = self.requests.message().await.expect("the stream is open").expect("the proxy speaks");
        Request::try_from(request).expect("valid")
    }

    /// The next `count` requests, which must be subscriptions, ordered.
    pub(super) async fn subscriptions(&mut self, count: usize) -> Vec<(ResourceKey, Option<u64>)> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.said().await {
                Request::Subscribe { key, held_version } => all.push((key, held_version)),
                other => panic!("not a subscription: {other:?}"),
            }
        }
        all.sort();
        all
    }

    /// Nothing is said while this time passes.
    pub(super) async fn silence(&mut self, time: Duration) {
        let said = timeout(time, self.requests.message()).await;
        assert!(said.is_err(), "the proxy said {said:?}");
    }

    pub(super) async fn update(&self, key: ResourceKey, version: u64, state: State) {
        self.respond(Response::Update(Box::new(Update { key, version, state }))).await;
    }

    /// An update that the proxy must acknowledge.
    pub(super) async fn put(&mut self, key: ResourceKey, version: u64, state: State) {
        self.update(key.clone(), version, state).await;
        assert_eq!(self.said().await, Request::Ack { key, version });
    }

    /// An update that the model has no words for.
    pub(super) async fn raw(&self, update: grpc::Update) {
        let message = Some(watch_response::Message::Update(update));
        self.responses.send(Ok(grpc::WatchResponse { message })).await.expect("the stream is open");
    }

    async fn respond(&self, response: Response) {
        self.responses.send(Ok((&response).into())).await.expect("the stream is open");
    }
}

/// A proxy wants a certificate.
pub(super) struct CertifyCall {
    pub(super) token: String,
    csr: Vec<u8>,
    authority: Arc<Authority>,
    reply: oneshot::Sender<Result<Certified, Status>>,
}

impl CertifyCall {
    /// A certificate of the front end.
    pub(super) fn grant(self, expires_in: Duration, renew_in: Duration) {
        let authority = Arc::clone(&self.authority);
        self.grant_of(&authority, expires_in, renew_in);
    }

    /// The same of another authority.
    pub(super) fn grant_of(self, authority: &Authority, expires_in: Duration, renew_in: Duration) {
        let chain = authority.issue(&self.csr, &front_end(), expires_in).expect("issued");
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let trust = trust(&[authority]);
        let _ = self.reply.send(Ok(Certified { chain, expires_in, renew_in, trust }));
    }

    /// A certificate of one authority, and trust in another.
    pub(super) fn grant_with_trust_of(self, other: &Authority) {
        let chain = self.authority.issue(&self.csr, &front_end(), LIFE).expect("issued");
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let _ = self.reply.send(Ok(Certified { chain, expires_in: LIFE, renew_in: LIFE / 3, trust: trust(&[other]) }));
    }

    pub(super) fn refuse(self, status: Status) {
        let _ = self.reply.send(Err(status));
    }
}

/// A bundle of these roots, as it travels.
pub(super) fn trust(authorities: &[&Authority]) -> model::TrustBundle {
    let bundles = authorities.iter().map(|authority| authority.bundle().expect("has a root"));
    let roots = bundles.flat_map(|bundle| bundle.roots().iter().map(|root| root.to_vec()).collect::<Vec<_>>());
    model::TrustBundle { trust_domain: "cluster.local".to_owned(), roots: roots.collect(), issuing: None }
}

/// A report of a proxy.
pub(super) struct ReportCall {
    pub(super) report: Report,
    reply: oneshot::Sender<Result<bool, Status>>,
}

impl ReportCall {
    pub(super) fn take(self) -> Report {
        self.answer(Ok(false))
    }

    /// The replica does not know the process.
    pub(super) fn ask_for_all(self) -> Report {
        self.answer(Ok(true))
    }

    pub(super) fn refuse(self, status: Status) -> Report {
        self.answer(Err(status))
    }

    fn answer(self, answer: Result<bool, Status>) -> Report {
        let _ = self.reply.send(answer);
        self.report
    }
}

struct WatchCall {
    requests: Streaming<grpc::WatchRequest>,
    responses: mpsc::Sender<Result<grpc::WatchResponse, Status>>,
}

/// Hands every call to the test and waits for its answer.
#[derive(Clone)]
struct Services {
    authority: Arc<Authority>,
    certify: mpsc::UnboundedSender<CertifyCall>,
    report: mpsc::UnboundedSender<ReportCall>,
    watch: mpsc::UnboundedSender<WatchCall>,
}

/// Whom the connection's certificate names.
#[derive(Clone)]
struct Caller(Option<SpiffeId>);

impl Services {
    fn check<T>(request: &tonic::Request<T>, expected: Option<SpiffeId>) -> Result<(), Status> {
        let caller = request.extensions().get::<Caller>().and_then(|caller| caller.0.clone());
        if caller == expected { Ok(()) } else { Err(Status::unauthenticated("not the certificate for this call")) }
    }
}

fn gone<T>(_: T) -> Status {
    Status::unavailable("the story is over")
}

#[tonic::async_trait]
impl Identity for Services {
    async fn certify(
        &self,
        request: tonic::Request<grpc::CertifyRequest>,
    ) -> Result<tonic::Response<grpc::CertifyResponse>, Status> {
        Services::check(&request, None)?;
        let Certify { csr, token } = request.into_inner().try_into().expect("valid");
        let (reply, answer) = oneshot::channel();
        let authority = Arc::clone(&self.authority);
        self.certify.send(CertifyCall { token, csr, authority, reply }).map_err(gone)?;
        Ok(tonic::Response::new((&answer.await.map_err(gone)??).into()))
    }
}

#[tonic::async_trait]
impl Telemetry for Services {
    async fn report(
        &self,
        request: tonic::Request<grpc::ReportRequest>,
    ) -> Result<tonic::Response<grpc::ReportResponse>, Status> {
        Services::check(&request, Some(front_end()))?;
        let report = request.into_inner().try_into().expect("valid");
        let (reply, answer) = oneshot::channel();
        self.report.send(ReportCall { report, reply }).map_err(gone)?;
        Ok(tonic::Response::new(grpc::ReportResponse { resend_all: answer.await.map_err(gone)?? }))
    }
}

#[tonic::async_trait]
impl Discovery for Services {
    type WatchStream = ReceiverStream<Result<grpc::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: tonic::Request<Streaming<grpc::WatchRequest>>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Services::check(&request, Some(front_end()))?;
        let (responses, receiver) = mpsc::channel(64);
        self.watch.send(WatchCall { requests: request.into_inner(), responses }).map_err(gone)?;
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

/// Serves every connection until the plane stops, starts or changes.
async fn accept(
    mut dials: mpsc::Receiver<DuplexStream>,
    mut up: watch::Receiver<Option<Arc<ServerConfig>>>,
    refuse: mpsc::UnboundedSender<Instant>,
    services: Services,
) {
    let routes = Routes::new(IdentityServer::new(services.clone()))
        .add_service(DiscoveryServer::new(services.clone()))
        .add_service(TelemetryServer::new(services));
    while let Some(stream) = dials.recv().await {
        let Some(config) = up.borrow_and_update().clone() else {
            let _ = refuse.send(Instant::now());
            continue;
        };
        let (mut until, routes) = (up.clone(), routes.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serve(stream, config, routes) => {}
                _ = until.changed() => {}
            }
        });
    }
}

async fn serve(stream: DuplexStream, config: Arc<ServerConfig>, routes: Routes) {
    // A proxy that does not trust us says so and goes.
    let Ok(tls) = TlsAcceptor::from(config).accept(stream).await else { return };
    let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let caller = Caller(certificate.map(|certificate| peer_id(certificate).expect("an identity")));
    let service = routes.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(caller.clone());
        request
    });
    let service = TowerToHyperService::new(service);
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
}

/// TLS of a control plane whose certificate `issuer` vouches for.
fn server_config(issuer: &Authority, clients: &Authority) -> Arc<ServerConfig> {
    config_of(issuer.issue_leaf(&identity(), LIFE).expect("issued"), clients.bundle().expect("has a root"))
}

fn config_of(leaf: Leaf, clients: TrustBundle) -> Arc<ServerConfig> {
    let tickets = TicketKeys::new().expect("keys");
    let credentials = Credentials::new(leaf, clients, &tickets, 1).expect("credentials");
    control::server_config(&credentials).expect("a configuration")
}
