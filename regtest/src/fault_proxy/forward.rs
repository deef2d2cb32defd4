use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Fault, State};

/// No node's RPC carries more; a larger body is refused.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// Returned to hyper, which then cuts the connection without a reply.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("cut on command")]
    OnCommand,
    #[error("the request could not be read")]
    Request(#[source] axum::Error),
    #[error("the node did not answer")]
    Upstream(#[source] reqwest::Error),
    #[error("the reply could not be built")]
    Reply(#[source] axum::http::Error),
}

/// Serves connections until the task is aborted, which cuts them all.
pub async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&state)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&state)));
    if let Err(error) =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, "a proxied connection ended early");
    }
}

async fn respond(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), BODY_LIMIT).await.map_err(Cut::Request)?;
    let fault = state.book().apply(&body);
    match fault {
        None => whole(send(&state, &parts, body).await?),
        Some(Fault::Refuse) => Err(Cut::OnCommand),
        Some(Fault::Status(status)) => {
            Response::builder().status(status).body(Body::empty()).map_err(Cut::Reply)
        }
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            whole(send(&state, &parts, body).await?)
        }
        Some(Fault::Duplicate) => {
            send(&state, &parts, body.clone()).await?;
            whole(send(&state, &parts, body).await?)
        }
        Some(Fault::DropReply) => {
            send(&state, &parts, body).await?;
            Err(Cut::OnCommand)
        }
        Some(Fault::Truncate(bytes)) => truncated(send(&state, &parts, body).await?, bytes),
    }
}

type Reply = (StatusCode, HeaderMap, Bytes);

/// Sends the request to the node and reads its whole reply.
async fn send(state: &State, parts: &Parts, body: Bytes) -> Result<Reply, Cut> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let response = state
        .http
        .request(parts.method.clone(), format!("{}{path}", state.upstream))
        .headers(end_to_end(&parts.headers))
        .body(body)
        .send()
        .await
        .map_err(Cut::Upstream)?;
    let (status, headers) = (response.status(), end_to_end(response.headers()));
    Ok((status, headers, response.bytes().await.map_err(Cut::Upstream)?))
}

fn whole((status, headers, body): Reply) -> Result<Response<Body>, Cut> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Announces the whole length, gives less, and breaks off.
fn truncated((status, headers, body): Reply, bytes: usize) -> Result<Response<Body>, Cut> {
    let announced = body.len();
    let kept = body.slice(..bytes.min(announced));
    let pieces = futures::stream::iter([Ok(kept), Err(Cut::OnCommand)]);
    let mut response =
        Response::builder().status(status).body(Body::from_stream(pieces)).map_err(Cut::Reply)?;
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_LENGTH, announced.into());
    Ok(response)
}

/// Headers without those that belong to one connection (RFC 9110, section 7.6.1) or that each side computes anew.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
