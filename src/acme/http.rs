//! The client of an authority: our own HTTP client with a limit on the time and the size of each answer, which the protocol's library lacks.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Body;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use crate::http_client::{Client, Failure, Limits, client};

/// From the name to the last byte of an answer.
const EACH: Duration = Duration::from_secs(30);
/// A chain has a few thousand bytes.
const MAX_BYTES: usize = 1 << 20;
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    idle: Duration::from_secs(30),
    max_idle: 1,
    alive: Duration::from_secs(15),
    // Each request has a nonce that is good for once, and a refused one is made anew.
    repeat_unsent: true,
    stuck: None,
    max_head: None,
};

#[derive(Debug, Clone)]
pub(super) struct Http(Client);

impl Http {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        Self(client(tls, &LIMITS))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let exchange = timeout(EACH, exchange(client, request)).await;
            exchange.unwrap_or_else(|_| Err(Error::Other("no answer in time".into())))
        })
    }
}

async fn exchange(client: Client, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, Full::new(whole(body).await?));
    let answer = client.request(request).await.map_err(|error| match Failure::of(&error) {
        Failure::NotSent(why) | Failure::Unknown(why) => Error::Other(why.into()),
    })?;
    let (parts, body) = answer.into_parts();
    Ok(BytesResponse { parts, body: Box::new(whole(body).await?) })
}

async fn whole<B>(mut body: B) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Other("the connection broke within an answer".into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > MAX_BYTES {
            return Err(Error::Other("the answer is too long".into()));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}
