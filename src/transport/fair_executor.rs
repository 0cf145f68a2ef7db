//! The streams of an HTTP/2 connection run on the connection's own task, and
//! connections take turns: whoever asks for much at once waits for itself, not others
//! for it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use hyper::rt::Executor;

use super::write_timeout::WriteTimeout;

/// How long the streams of one connection go on before it is others' turn: several
/// answers from memory.
const TIME_SLICE: Duration = Duration::from_micros(50);

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Streams that nobody has looked at yet.
type NewStreams = Mutex<VecDeque<Stream>>;

/// The streams of one connection.
#[derive(Default)]
pub(crate) struct FairExecutor {
    new_streams: Arc<NewStreams>,
    /// Those that wait for something: not for their connection's turn.
    waiting: FuturesUnordered<Stream>,
}

/// Why a connection is served no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServeEnd {
    /// It has ended, in whatever way.
    Ended,
    /// A reply waits for too long to be read.
    WriteTimeout,
}

/// Where hyper leaves the streams of a connection.
#[derive(Clone)]
pub(crate) struct StreamSpawner(Weak<NewStreams>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamSpawner {
    fn execute(&self, stream: F) {
        // Without a connection there is nobody to answer.
        if let Some(new_streams) = self.0.upgrade() {
            // A panic ends this stream and nothing else.
            let stream = AssertUnwindSafe(stream).catch_unwind().map(|_| ());
            lock(&new_streams).push_back(Box::pin(stream));
        }
    }
}

impl FairExecutor {
    /// To be given to the connection.
    pub(crate) fn spawner(&self) -> StreamSpawner {
        StreamSpawner(Arc::downgrade(&self.new_streams))
    }

    /// Goes on with a connection and its streams, until the connection ends or a reply
    /// is overdue.
    pub(crate) async fn serve<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        write_timeout: &mut WriteTimeout,
    ) -> ServeEnd {
        poll_fn(|context| {
            // Nothing is sent or read until all that came at once has been looked at.
            let may_send = lock(&self.new_streams).is_empty();
            if may_send {
                if connection.as_mut().poll(context).is_ready() {
                    return Poll::Ready(ServeEnd::Ended);
                }
                // All has been sent that the peer takes.
                if write_timeout.poll_unpin(context).is_ready() {
                    return Poll::Ready(ServeEnd::WriteTimeout);
                }
            }
            if self.take(context) || !may_send {
                context.waker().wake_by_ref();
            } else if write_timeout.poll_unpin(context).is_ready() {
                // A stream may have begun to wait for its peer.
                return Poll::Ready(ServeEnd::WriteTimeout);
            }
            Poll::Pending
        })
        .await
    }

    /// One turn. Whether there is more to do at once: to send answers, or to go on.
    fn take(&mut self, context: &mut Context<'_>) -> bool {
        if self.waiting.is_empty() && lock(&self.new_streams).is_empty() {
            return false;
        }
        let start = Instant::now();
        let mut is_ended = false;
        while start.elapsed() < TIME_SLICE {
            if let Poll::Ready(Some(())) = self.waiting.poll_next_unpin(context) {
                is_ended = true;
                continue;
            }
            let next = lock(&self.new_streams).pop_front();
            let Some(mut stream) = next else {
                return is_ended;
            };
            match stream.as_mut().poll(context) {
                Poll::Ready(()) => is_ended = true,
                Poll::Pending => self.waiting.push(stream),
            }
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, thread};

    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::peer::{CoarseClock, ReplyMemory, Traffic};

    fn write_timeout(traffic: &Arc<Traffic>, longest: Duration) -> WriteTimeout {
        WriteTimeout::new(Arc::clone(traffic), longest)
    }

    fn traffic() -> Arc<Traffic> {
        Traffic::new(9, &ReplyMemory::default(), &CoarseClock::default())
    }

    /// Serves a connection that brings some streams at once.
    async fn serve(streams: Vec<Stream>, end: impl Future<Output = ()>) {
        let mut executor = FairExecutor::default();
        let spawner = executor.spawner();
        let connection = async move {
            for stream in streams {
                spawner.execute(stream);
            }
            end.await;
        };
        let mut write_timeout = write_timeout(&traffic(), Duration::from_secs(60));
        let served = executor.serve(pin!(connection), &mut write_timeout).await;
        assert_eq!(served, ServeEnd::Ended);
    }

    /// The end of a connection that wakes nobody: it is there when it is asked for a
    /// second time.
    async fn next_time() {
        let mut is_first = true;
        poll_fn(|_| match std::mem::take(&mut is_first) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
    }

    /// Streams that take more than a turn each, and tell of it.
    fn slow(name: char, count: usize, told: &mpsc::UnboundedSender<char>) -> Vec<Stream> {
        let stream = |_| {
            let told = told.clone();
            Box::pin(async move {
                thread::sleep(TIME_SLICE);
                told.send(name).unwrap();
            }) as Stream
        };
        (0..count).map(stream).collect()
    }

    #[tokio::test]
    async fn connections_take_turns() {
        let (told, mut tells) = mpsc::unbounded_channel();
        tokio::join!(
            tokio::spawn(serve(slow('a', 5, &told), next_time())),
            tokio::spawn(serve(slow('b', 2, &told), next_time())),
        )
        .0
        .unwrap();
        drop(told);
        let mut order = String::new();
        while let Some(name) = tells.recv().await {
            order.push(name);
        }
        assert_eq!(order, "ababaaa");
    }

    #[tokio::test]
    async fn what_waits_is_looked_at_again_and_what_panics_ends_alone() {
        let (told, mut tells) = mpsc::unbounded_channel();
        let (news, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (waiting, hears, ends) = (told.clone(), Arc::clone(&news), Arc::clone(&end));
        let waits = Box::pin(async move {
            hears.notified().await;
            waiting.send('w').unwrap();
            hears.notified().await;
            ends.notify_one();
        });
        let panics = Box::pin(async { panic!("canary") });
        let mut streams: Vec<Stream> = vec![waits, panics];
        streams.extend(slow('s', 1, &told));
        let served = tokio::spawn(serve(streams, async move { end.notified().await }));
        assert_eq!(tells.recv().await, Some('s'));
        news.notify_one();
        assert_eq!(tells.recv().await, Some('w'));
        news.notify_one();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn a_reply_that_waits_ends_it() {
        let (traffic, mut executor) = (traffic(), FairExecutor::default());
        let (spawner, replies) = (executor.spawner(), Arc::clone(&traffic));
        let mut write_timeout = write_timeout(&traffic, Duration::from_millis(70));
        let connection = async move {
            let stream = async move {
                let _waiting = replies.unsent_reply();
                std::future::pending().await
            };
            spawner.execute(stream);
            std::future::pending::<()>().await;
        };
        let start = Instant::now();
        let served = executor.serve(pin!(connection), &mut write_timeout).await;
        assert_eq!(served, ServeEnd::WriteTimeout);
        assert!(start.elapsed() >= Duration::from_millis(70));
    }

    #[tokio::test]
    async fn streams_end_with_their_connection() {
        let executor = FairExecutor::default();
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let spawner = executor.spawner();
        let own = spawner.clone();
        spawner.execute(async move { drop((held, own)) });
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(executor);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
