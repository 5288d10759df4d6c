//! One connection to the server, over which many ask at once.

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, RedisResult};
use tokio::task::AbortHandle;

use crate::delivery::sinks::dial::Stream;

/// A connection. Once it failed, it fails for ever.
#[derive(Debug)]
pub(super) struct Wire {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Wire {
    /// Sends nothing: the login is ours, because the library's keeps the server's words to itself. So are the time-outs.
    pub(super) async fn over(stream: impl Stream) -> RedisResult<Self> {
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let untimed = AsyncConnectionConfig::default().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&silent, stream, untimed).await?;
        Ok(Self { connection, driver: tokio::spawn(driver).abort_handle() })
    }

    /// The reply to one command; the commands of others go beside it, and the server answers in their order.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query_async(&mut self.connection.clone()).await
    }

    pub(super) fn is_over(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
