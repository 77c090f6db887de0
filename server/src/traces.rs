//! Traces: spans of requests, operations and starts, sent to a collector over OTLP when one is
//! configured.
//!
//! Spans are made by hand at the few places that matter, with the times that count. Sending never
//! waits: a queue that is full loses spans, and a collector that is gone is named once.

mod client;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use muxi_service::Clock;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};

use crate::config::OtlpConfig;

/// Where spans go; nowhere when no collector is configured. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    clock: Clock,
    propagator: TraceContextPropagator,
    parents: Mutex<Parents>,
}

/// The requests that began operations or wait for them, oldest first. An operation takes its own when
/// it ends; those of one that had ended before are pushed out by newer ones.
#[derive(Debug, Default)]
struct Parents(VecDeque<(String, SpanContext)>);

tokio::task_local! {
    /// The request that the current task answers.
    static CURRENT: Arc<Request>;
}

/// Lets work that goes on in a task of its own belong to the current request.
pub(crate) fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    Request::answering(CURRENT.try_with(Arc::clone).ok(), work)
}

/// One request on its way; its span ends with this value.
#[derive(Debug)]
pub(crate) struct Request {
    context: Context,
}

/// The collector cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("telemetry.otlp.headers_env: {0}")]
    Headers(String),
    #[error("telemetry.otlp.endpoint cannot be used: {0}")]
    Exporter(String),
}

const SERVICE: &str = "muxi-server";
const QUEUED_SPANS_MAX: usize = 2_048;
/// Operations whose request is remembered.
const PARENTS_MAX: usize = 1_024;
const EXPORT_PATIENCE: Duration = Duration::from_secs(5);
/// At the end of the manager.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

// === impl Traces ===

impl Traces {
    /// Must be called within the runtime that will carry the sending.
    pub fn new(config: &OtlpConfig, server_id: &str, clock: &Clock) -> Result<Self, TracesError> {
        let Some(endpoint) = config.url() else { return Ok(Self::default()) };
        let headers = config.headers().map_err(TracesError::Headers)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client::Client::new())
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_PATIENCE)
            .with_headers(headers)
            .build()
            .map_err(|error| TracesError::Exporter(error.to_string()))?;
        let batch = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUED_SPANS_MAX)
            .with_scheduled_delay(Duration::from_millis(config.interval_ms))
            .build();
        let sampler = Sampler::TraceIdRatioBased(config.sample_ratio.get());
        let resource = Resource::builder_empty()
            .with_service_name(SERVICE)
            .with_attributes([
                KeyValue::new("service.version", crate::VERSION),
                KeyValue::new("service.instance.id", server_id.to_owned()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(exporter).with_batch_config(batch).build(),
            )
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer(SERVICE);
        let propagator = TraceContextPropagator::new();
        let parents = Mutex::default();
        Ok(Self(Some(Arc::new(Inner {
            provider,
            tracer,
            clock: clock.clone(),
            propagator,
            parents,
        }))))
    }

    /// A request came in; its span belongs to the trace that its `traceparent` names.
    pub(crate) fn request(
        &self,
        name: String,
        headers: &HeaderMap,
        attributes: Vec<KeyValue>,
    ) -> Option<Request> {
        let inner = self.0.as_ref()?;
        let parent =
            inner.propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = inner
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(&inner.tracer, &parent);
        Some(Request { context: parent.with_span(span) })
    }

    /// Makes what is passed on a part of this request's trace.
    pub(crate) fn pass_on(&self, request: &Request, headers: &mut HeaderMap) {
        if let Some(inner) = &self.0 {
            inner.propagator.inject_context(&request.context, &mut HeaderInjector(headers));
        }
    }

    /// The current request began this operation, or waits for it.
    pub(crate) fn awaited(&self, operation: &str) {
        let (Some(inner), Ok(request)) = (&self.0, CURRENT.try_with(Arc::clone)) else { return };
        let span = request.context.span().span_context().clone();
        inner.parents.lock().unwrap_or_else(PoisonError::into_inner).put(operation, span);
    }

    /// An operation ended.
    pub(crate) fn operation(
        &self,
        operation: &str,
        kind: &str,
        times: (SystemTime, SystemTime),
        succeeded: bool,
    ) {
        let Some(inner) = &self.0 else { return };
        let parent = inner.parents.lock().unwrap_or_else(PoisonError::into_inner).take(operation);
        let attributes = vec![
            KeyValue::new("muxi.operation.id", operation.to_owned()),
            KeyValue::new("muxi.operation.kind", kind.to_owned()),
        ];
        inner.record(format!("operation {kind}"), times, attributes, parent, succeeded);
    }

    /// Something that a formation's actor saw from its beginning to its end.
    pub(crate) fn supervised(
        &self,
        name: &'static str,
        formation: &str,
        took: Duration,
        succeeded: bool,
    ) {
        let Some(inner) = &self.0 else { return };
        let now = inner.now();
        let started = now.checked_sub(took).unwrap_or(now);
        let attributes = vec![KeyValue::new("muxi.formation.id", formation.to_owned())];
        inner.record(name.to_owned(), (started, now), attributes, None, succeeded);
    }

    /// Sends what waits. It blocks, but not for long.
    pub fn shutdown(&self) {
        if let Some(inner) = &self.0
            && let Err(error) = inner.provider.shutdown_with_timeout(FLUSH_PATIENCE)
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

// === impl Parents ===

impl Parents {
    /// The first request that an operation is known by is its parent.
    fn put(&mut self, operation: &str, request: SpanContext) {
        if self.0.iter().any(|(known, _)| known == operation) {
            return;
        }
        if self.0.len() >= PARENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((operation.to_owned(), request));
    }

    fn take(&mut self, operation: &str) -> Option<SpanContext> {
        let at = self.0.iter().position(|(known, _)| known == operation)?;
        self.0.remove(at).map(|(_, request)| request)
    }
}

// === impl Inner ===

impl Inner {
    fn now(&self) -> SystemTime {
        self.clock.now().into()
    }

    fn record(
        &self,
        name: String,
        (started, ended): (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
        parent: Option<SpanContext>,
        succeeded: bool,
    ) {
        let parent = parent
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let mut span = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(started)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent);
        if !succeeded {
            span.set_status(Status::error("failed"));
        }
        span.end_with_timestamp(ended);
    }
}

// === impl Request ===

impl Request {
    /// Runs what answers the request.
    pub(crate) async fn answering<T>(
        this: Option<Arc<Self>>,
        answer: impl Future<Output = T>,
    ) -> T {
        match this {
            Some(request) => CURRENT.scope(request, answer).await,
            None => answer.await,
        }
    }

    pub(crate) fn answered(&self, status: u16) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.context.span().end();
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    fn span(id: u64) -> SpanContext {
        let state = TraceState::default();
        SpanContext::new(TraceId::from(1u128), SpanId::from(id), TraceFlags::SAMPLED, false, state)
    }

    #[test]
    fn looks_at_ended_operations_do_not_keep_out_new_ones() {
        let mut parents = Parents::default();
        for ended in 0..PARENTS_MAX * 2 {
            parents.put(&format!("op_{ended}"), span(1));
        }
        parents.put("op_new", span(2));
        parents.put("op_new", span(3));
        assert_eq!(parents.take("op_new"), Some(span(2)), "the first counts");
        assert_eq!(parents.take("op_new"), None);
        assert_eq!(parents.take("op_0"), None);
        assert_eq!(parents.0.len(), PARENTS_MAX - 1);
    }
}
