use super::*;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::sync::watch;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A port that is free now.
fn free() -> SocketAddr {
    TcpListener::bind(ANY).unwrap().local_addr().unwrap()
}

#[test]
fn who_calls_while_nobody_listens_waits_and_is_not_refused() {
    let at = free();
    let kept = Kept::default();
    drop(kept.listener(at).unwrap());
    let mut caller = TcpStream::connect(at).expect("the socket is kept, though its door is closed");
    let next = kept.listener(at).unwrap();
    next.set_nonblocking(false).unwrap();
    let (mut taken, _) = next.accept().unwrap();
    io::Write::write_all(&mut taken, b"220").unwrap();
    let mut greeting = [0; 3];
    io::Read::read_exact(&mut caller, &mut greeting).unwrap();
    assert_eq!(&greeting, b"220");
}

#[test]
fn what_is_kept_no_more_closes_with_its_last_door() {
    let at = free();
    let kept = Kept::default();
    let door = kept.listener(at).unwrap();
    kept.close();
    TcpStream::connect(at).expect("the door itself is open");
    drop(door);
    assert_eq!(TcpStream::connect(at).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    drop(kept.listener(at).unwrap());
    assert!(!kept.has(at), "after its end nothing is kept");
}

#[test]
fn any_port_is_another_port_each_time() {
    let kept = Kept::default();
    let ports = [(), ()].map(|()| kept.listener(ANY).unwrap().local_addr().unwrap().port());
    assert_ne!(ports[0], ports[1]);
    assert!(kept.all().is_empty());
}

#[test]
fn sockets_of_another_configuration_and_what_is_no_listening_socket_are_closed() {
    let (old, new) = (free(), free());
    let kept = Kept::default();
    kept.add(TcpListener::bind(old).unwrap().into());
    kept.add(TcpListener::bind(new).unwrap().into());
    kept.add(UnixStream::pair().unwrap().0.into());
    kept.add(std::net::UdpSocket::bind(ANY).unwrap().into());
    drop(kept.listener(new).unwrap());
    assert_eq!(kept.close_unwanted(), [old]);
    assert_eq!(TcpStream::connect(old).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    TcpStream::connect(new).unwrap();
}

#[test]
fn sockets_go_over_in_one_message_and_stay_the_same_sockets() {
    let (one, two) = (free(), free());
    let old = Kept::default();
    let mut waiting = Vec::new();
    for at in [one, two] {
        drop(old.listener(at).unwrap());
        waiting.push(TcpStream::connect(at).unwrap());
    }
    let (here, there) = UnixStream::pair().unwrap();
    let sockets: Vec<OwnedFd> = old.all().into_iter().map(|(_, socket)| socket).collect();
    send(&here, &sockets, true).unwrap();
    drop((old, sockets));
    let new = Kept::default();
    let (sockets, overseen) = receive(&there).unwrap();
    assert!(overseen);
    sockets.into_iter().for_each(|socket| new.add(socket));
    for at in [one, two] {
        let door = new.listener(at).unwrap();
        door.set_nonblocking(false).unwrap();
        door.accept().expect("who waited before the change is let in after it");
    }
    drop(here);
    assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_asked_for_its_sockets_and_told_to_leave() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("doors.sock");
    let new = Kept::default();
    assert!(ask(&socket, &new).unwrap().is_none(), "nobody is there");

    let at = free();
    let old = Kept::default();
    drop(old.listener(at).unwrap());
    let leave = watch::Sender::new(false);
    let stop = watch::Sender::new(false);
    let out = hand_out(&socket, old, leave.clone(), false, stop.subscribe()).unwrap();
    let out = tokio::spawn(out);
    let path = socket.clone();
    let look = new.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&path, &look)).await.unwrap().unwrap().unwrap();
    assert!(new.has(at));
    assert!(!asked.overseen && !*leave.borrow(), "asking alone changes nothing");
    asked.leave().unwrap();
    let mut left = leave.subscribe();
    tokio::time::timeout(Duration::from_secs(5), left.wait_for(|left| *left)).await.unwrap().unwrap();
    stop.send_replace(true);
    out.await.unwrap();
    assert!(ask(&socket, &new).unwrap().is_none(), "nobody is there any more");
}
