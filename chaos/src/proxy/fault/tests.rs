use super::*;

fn read(text: &str) -> String {
    match text.parse::<Placed>() {
        Ok(placed) => placed.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn every_kind_is_read_with_its_defaults_and_shown_as_it_is_read() {
    for kind in Kind::ALL {
        let shown = read(kind.name());
        assert_eq!(read(&shown), shown);
        assert!(shown.starts_with(kind.name()), "{shown}");
        let fault = Fault::new(kind, &[]).unwrap();
        assert_eq!(fault.kind(), kind);
        let again = Fault::from_json(kind, fault.to_json().to_string().as_bytes());
        assert_eq!(again.unwrap(), fault);
    }
}

#[test]
fn parameters_directions_and_units() {
    assert_eq!(
        read("  up  latency jitter=20ms delay=2s "),
        "up latency delay=2s jitter=20ms"
    );
    assert_eq!(read("loss rate=0.5%"), "loss rate=0.5%");
    assert_eq!(read("corrupt rate=0.003%"), "corrupt rate=0.003%");
    assert_eq!(
        read("bandwidth rate=1048576"),
        "bandwidth rate=1MiB queue=100ms"
    );
    assert_eq!(
        read("up bandwidth rate=10Mbit"),
        "up bandwidth rate=10Mbit queue=100ms"
    );
    assert_eq!(read("down reset bytes=4KiB"), "down reset bytes=4KiB");
    assert_eq!(read("slice size=1B pause=0s"), "slice size=1B pause=0s");
}

#[test]
fn errors_say_what_would_be_right() {
    for (text, error) in [
        (
            "",
            "no fault is named; write one such as: latency delay=100ms, or: up cut",
        ),
        (
            "up",
            "no fault is named; write one such as: latency delay=100ms, or: up cut",
        ),
        (
            "latency delay",
            "\"delay\" is no parameter; write NAME=VALUE, such as delay=100ms",
        ),
        (
            "latency dealy=1s",
            "latency has no parameter \"dealy\"; write delay=100ms jitter=0s",
        ),
        ("cut for=1s", "cut has no parameter \"for\"; it has none"),
        ("latency delay=1s delay=2s", "delay is given twice"),
        (
            "latency delay=100",
            "latency: delay: \"100\" has no unit; write one of ms, s, m, h, d, such as \"5s\"",
        ),
        ("latency delay=2d", "latency: delay: 2d is more than a day"),
        (
            "loss rate=0.1",
            "loss: rate: \"0.1\" is no share; write one from 0% to 100%, such as 5%",
        ),
        (
            "loss rate=101%",
            "loss: rate: \"101%\" is no share; write one from 0% to 100%, such as 5%",
        ),
        (
            "bandwidth rate=0",
            "bandwidth: rate: at least 1B; to let nothing pass, use cut",
        ),
        (
            "bandwidth rate=10Mb",
            "bandwidth: rate: \"10Mb\" is no rate; write a whole number of bytes a second in B, KiB, MiB or GiB, such as 64KiB, or of bits a second in kbit, Mbit or Gbit, such as 10Mbit",
        ),
        (
            "up rebind",
            "rebind has no direction: it changes the port that the server sees; leave it out",
        ),
    ] {
        assert_eq!(read(text), format!("error: {error}"), "{text}");
    }
    assert!(read("lag").starts_with("error: there is no fault \"lag\"; there is latency, "));
}

#[test]
fn json_is_an_object_of_parameters() {
    let read = |body: &str| Fault::from_json(Kind::Truncate, body.as_bytes());
    assert_eq!(read(" "), Ok(Fault::Truncate { bytes: 1024 }));
    assert_eq!(read("{\"bytes\": 5}"), Ok(Fault::Truncate { bytes: 5 }));
    for body in ["[]", "{", "{\"bytes\": true}"] {
        assert_eq!(read(body), Err(FaultError::Body), "{body}");
    }
}
