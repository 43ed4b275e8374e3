use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};

use super::Kept;

#[tokio::test]
async fn i5_what_a_reader_does_not_take_is_dropped_at_the_deadline() {
    let held = Arc::new(());
    let messages = stream::iter([1, 2, 3].map(|number| (number, Arc::clone(&held))));
    let messages = messages.map(|(number, _)| Ok(number)).boxed();
    let mut kept = Kept::new(messages, Duration::from_secs(2));
    assert_eq!(kept.next().await.unwrap().unwrap(), 1);
    assert!(Arc::strong_count(&held) > 1);
    // Nobody asks for more.
    while Arc::strong_count(&held) > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = kept.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    assert!(kept.next().await.is_none());
}

#[tokio::test]
async fn an_answer_that_is_read_is_whole() {
    let messages = stream::iter([1, 2, 3]).map(Ok).boxed();
    let kept = Kept::new(messages, Duration::from_secs(3600));
    let all: Vec<i32> = kept.map(Result::unwrap).collect().await;
    assert_eq!(all, [1, 2, 3]);
}
