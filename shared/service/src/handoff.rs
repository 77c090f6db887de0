//! Hands the shared listener back to a manager that was killed and came again.
//!
//! The instance holds a duplicate of the formation's listening socket. A manager that starts anew
//! asks for it here, so that the port is never released while somebody serves on it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use tokio_util::sync::CancellationToken;

use crate::unix_path;

/// After a failure nobody is served for so long.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers every asker of the same user with a duplicate of `shared`, until cancelled.
pub async fn serve(listener: tokio::net::UnixListener, shared: OwnedFd, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let sent = accepted.and_then(|(stream, _)| send(stream.as_fd(), shared.as_fd()));
        if let Err(error) = sent {
            tracing::warn!(%error, "the shared listener could not be handed over");
            // An error of accept itself, such as no free descriptor, would come at once again.
            tokio::time::sleep(ERROR_PAUSE).await;
        }
    }
}

/// Takes a duplicate of the shared listener from the instance behind `path`.
pub fn take(path: &Path) -> io::Result<TcpListener> {
    let stream = unix_path::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    received
        .map(TcpListener::from)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the instance sent no listener"))
}

fn send(stream: BorrowedFd<'_>, shared: BorrowedFd<'_>) -> io::Result<()> {
    let peer = sockopt::socket_peercred(stream)?;
    if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the asker is another user"));
    }
    let descriptors = [shared];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    // One byte into an empty socket buffer never blocks.
    sendmsg(stream, &[IoSlice::new(&[1])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_taken_listener_is_the_same_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handoff.sock");
        let unix = tokio::net::UnixListener::from_std(unix_path::bind(&path).unwrap()).unwrap();
        let shared = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = shared.local_addr().unwrap();
        let stop = CancellationToken::new();
        let tasks = crate::TaskGroup::new(stop.clone());
        tasks.spawn(
            crate::TaskKind::Connection,
            "handoff",
            serve(unix, shared.into(), stop.clone()),
        );

        let taken = tokio::task::spawn_blocking(move || take(&path)).await.unwrap().unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        stop.cancel();
        assert!(tasks.drain(PATIENCE).await.is_empty());
        // The first holder is gone, and the port still answers.
        std::net::TcpStream::connect(address).unwrap();
        taken.accept().unwrap();
    }
}
