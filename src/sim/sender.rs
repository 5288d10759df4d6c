//! Sends signed webhooks over a real socket, and again as Ring does when the answer is late or a 5xx.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use super::peer::{self, Delivery, Peer, RETRIES};
use crate::domain::signature::sign;

/// Ring's side of the webhook.
#[derive(Debug, Clone)]
pub struct Sender {
    to: Peer,
    key: Vec<u8>,
}

impl Sender {
    /// Posts to `path` at `to`, signing with `key`.
    pub fn new(to: SocketAddr, path: &str, key: &[u8]) -> Self {
        Self { to: Peer { to, path: path.to_owned() }, key: key.to_owned() }
    }

    /// Posts once. The answer's status.
    ///
    /// # Errors
    /// When there is no answer within Ring's five seconds.
    pub async fn post(&self, body: &[u8]) -> io::Result<u16> {
        self.post_signed(body, &sign(&self.key, body)).await
    }

    /// Posts once under a signature of your own.
    ///
    /// # Errors
    /// As [`Sender::post`].
    pub async fn post_signed(&self, body: &[u8], signature: &str) -> io::Result<u16> {
        let request = Request::post(&self.to.path)
            .header("content-type", "application/json")
            .header("x-signature", signature);
        self.to.send(request, Full::new(Bytes::copy_from_slice(body))).await
    }

    /// Posts until it is answered for good, or for the seventh time. Ring's waits are divided by `haste`.
    pub async fn deliver(&self, body: &[u8], haste: u32) -> Delivery {
        peer::deliver(&RETRIES, haste, || self.post(body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one connection with each status; 0 closes without an answer.
    async fn answering(statuses: &'static [u16]) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let mut requests = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap();
                requests.push(String::from_utf8_lossy(&request[..n]).into_owned());
                if *status != 0 {
                    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            requests
        });
        (address, served)
    }

    #[tokio::test]
    async fn retries_what_is_not_final_and_signs_each_time() {
        let (address, served) = answering(&[503, 0, 200]).await;
        let sender = Sender::new(address, "/hook", b"key");
        let done = sender.deliver(b"body", 1_000_000).await;
        assert_eq!(done, Delivery { status: Some(200), attempts: 3 });
        for request in served.await.unwrap() {
            assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
            assert!(request.contains(&format!("x-signature: {}\r\n", sign(b"key", b"body"))), "{request}");
        }
    }

    #[tokio::test]
    async fn a_4xx_is_final_and_seven_attempts_are_all() {
        let (address, _) = answering(&[401]).await;
        let sender = Sender::new(address, "/", b"key");
        assert_eq!(sender.deliver(b"", 1_000_000).await, Delivery { status: Some(401), attempts: 1 });
        let (address, _) = answering(&[500; 7]).await;
        let sender = Sender::new(address, "/", b"key");
        assert_eq!(sender.deliver(b"", 1_000_000).await, Delivery { status: Some(500), attempts: 7 });
    }
}
