//! Runs the streams of an HTTP/2 connection on the connection's own task, one time slice
//! after the other, so that a connection with many requests does not delay others.

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

/// The time for which the streams of one connection run before the task yields: enough for
/// several replies from memory.
const TIME_SLICE: Duration = Duration::from_micros(50);

type StreamTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Streams that have not been polled yet.
type NewStreams = Mutex<VecDeque<StreamTask>>;

/// Runs the streams of one connection.
#[derive(Default)]
pub(crate) struct FairExecutor {
    new_streams: Arc<NewStreams>,
    /// Streams that have been polled and were pending.
    pending: FuturesUnordered<StreamTask>,
}

/// The reason why [`FairExecutor::serve`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServeEnd {
    /// The connection has ended, with or without an error.
    Ended,
    /// A reply has been unsent for too long.
    WriteTimeout,
}

/// Takes the streams of a connection from hyper.
#[derive(Clone)]
pub(crate) struct StreamSpawner(Weak<NewStreams>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamSpawner {
    fn execute(&self, stream: F) {
        // Without a connection there is no peer to reply to.
        if let Some(new_streams) = self.0.upgrade() {
            // A panic ends this stream only.
            let stream = AssertUnwindSafe(stream).catch_unwind().map(|_| ());
            lock(&new_streams).push_back(Box::pin(stream));
        }
    }
}

impl FairExecutor {
    /// The spawner to pass to hyper.
    pub(crate) fn spawner(&self) -> StreamSpawner {
        StreamSpawner(Arc::downgrade(&self.new_streams))
    }

    /// Runs a connection and its streams until the connection ends or a reply is overdue.
    pub(crate) async fn serve<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        write_timeout: &mut WriteTimeout,
    ) -> ServeEnd {
        poll_fn(|context| {
            // All new streams are polled once before more is written or read.
            let may_poll_connection = lock(&self.new_streams).is_empty();
            if may_poll_connection {
                if connection.as_mut().poll(context).is_ready() {
                    return Poll::Ready(ServeEnd::Ended);
                }
                // The connection has written all that the socket takes.
                if write_timeout.poll_unpin(context).is_ready() {
                    return Poll::Ready(ServeEnd::WriteTimeout);
                }
            }
            if self.run_slice(context) || !may_poll_connection {
                context.waker().wake_by_ref();
            } else if write_timeout.poll_unpin(context).is_ready() {
                // A stream may have produced a reply.
                return Poll::Ready(ServeEnd::WriteTimeout);
            }
            Poll::Pending
        })
        .await
    }

    /// Runs streams for one time slice. `true` if the task must be polled again at once, to
    /// write replies or to run more streams.
    fn run_slice(&mut self, context: &mut Context<'_>) -> bool {
        if self.pending.is_empty() && lock(&self.new_streams).is_empty() {
            return false;
        }
        let start = Instant::now();
        let mut has_finished = false;
        while start.elapsed() < TIME_SLICE {
            if let Poll::Ready(Some(())) = self.pending.poll_next_unpin(context) {
                has_finished = true;
                continue;
            }
            let next = lock(&self.new_streams).pop_front();
            let Some(mut stream) = next else {
                return has_finished;
            };
            match stream.as_mut().poll(context) {
                Poll::Ready(()) => has_finished = true,
                Poll::Pending => self.pending.push(stream),
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

    fn write_timeout(traffic: &Arc<Traffic>, timeout: Duration) -> WriteTimeout {
        WriteTimeout::new(Arc::clone(traffic), timeout)
    }

    fn traffic() -> Arc<Traffic> {
        Traffic::new(9, &ReplyMemory::default(), &CoarseClock::default())
    }

    /// Serves a connection that starts some streams at once.
    async fn serve(streams: Vec<StreamTask>, end: impl Future<Output = ()>) {
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

    /// Completes on its second poll, without waking its task.
    async fn second_poll() {
        let mut is_first = true;
        poll_fn(|_| match std::mem::take(&mut is_first) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
    }

    /// Streams that each take more than a time slice and then send their name.
    fn slow(name: char, count: usize, sender: &mpsc::UnboundedSender<char>) -> Vec<StreamTask> {
        let stream = |_| {
            let sender = sender.clone();
            Box::pin(async move {
                thread::sleep(TIME_SLICE);
                sender.send(name).unwrap();
            }) as StreamTask
        };
        (0..count).map(stream).collect()
    }

    #[tokio::test]
    async fn connections_run_in_turn() {
        let (sender, mut names) = mpsc::unbounded_channel();
        tokio::join!(
            tokio::spawn(serve(slow('a', 5, &sender), second_poll())),
            tokio::spawn(serve(slow('b', 2, &sender), second_poll())),
        )
        .0
        .unwrap();
        drop(sender);
        let mut order = String::new();
        while let Some(name) = names.recv().await {
            order.push(name);
        }
        assert_eq!(order, "ababaaa");
    }

    #[tokio::test]
    async fn pending_streams_are_polled_again_and_a_panic_ends_only_its_stream() {
        let (sender, mut names) = mpsc::unbounded_channel();
        let (resume, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (own_sender, resumed, ended) = (sender.clone(), Arc::clone(&resume), Arc::clone(&end));
        let waiting = Box::pin(async move {
            resumed.notified().await;
            own_sender.send('w').unwrap();
            resumed.notified().await;
            ended.notify_one();
        });
        let panicking = Box::pin(async { panic!("canary") });
        let mut streams: Vec<StreamTask> = vec![waiting, panicking];
        streams.extend(slow('s', 1, &sender));
        let served = tokio::spawn(serve(streams, async move { end.notified().await }));
        assert_eq!(names.recv().await, Some('s'));
        resume.notify_one();
        assert_eq!(names.recv().await, Some('w'));
        resume.notify_one();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn an_overdue_reply_ends_the_connection() {
        let (traffic, mut executor) = (traffic(), FairExecutor::default());
        let (spawner, replies) = (executor.spawner(), Arc::clone(&traffic));
        let mut write_timeout = write_timeout(&traffic, Duration::from_millis(70));
        let connection = async move {
            let stream = async move {
                let _unsent = replies.unsent_reply();
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
