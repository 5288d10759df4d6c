//! A client of AMQP 0-9-1 for the tests, over a blocking connection: it makes exchanges and queues, and reads what they have.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A message as a reader gets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) exchange: String,
    pub(super) key: String,
    pub(super) content_type: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) delivery_mode: u8,
    pub(super) id: String,
    pub(super) body: Vec<u8>,
}

/// The arguments of a method, in the order of the specification.
enum Arg<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    Short(&'a str),
    Long(&'a [u8]),
    /// A table of numbers and texts.
    Table(&'a [(&'a str, Field<'a>)]),
}

/// A value in a table.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Text(&'a str),
    Number(i32),
}

use Arg::{Long, Short, Table, U8, U16, U32};

pub(super) struct Client(BufReader<TcpStream>);

/// Any of these is an end of the connection, which the caller does not mind.
type Done<T> = Option<T>;

impl Client {
    /// Nothing where no broker lets guest in on this port.
    pub(super) fn connect(port: u16) -> Done<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        // Only a hang meets it.
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self(BufReader::new(stream));
        client.write(b"AMQP\x00\x00\x09\x01")?;
        client.until(10, 10)?;
        client.call(0, (10, 11), &[Table(&[]), Short("PLAIN"), Long(b"\0guest\0guest"), Short("en_US")])?;
        client.until(10, 30)?;
        client.call(0, (10, 31), &[U16(1), U32(8192), U16(0)])?;
        client.call(0, (10, 40), &[Short("/"), Short(""), U8(0)])?;
        client.until(10, 41)?;
        client.call(1, (20, 10), &[Short("")])?;
        client.until(20, 11)?;
        Some(client)
    }

    /// An exchange of kind topic, which goes with its last binding.
    pub(super) fn exchange(&mut self, name: &str) {
        self.call(1, (40, 10), &[U16(0), Short(name), Short("topic"), U8(0b100), Table(&[])]).unwrap();
        self.until(40, 11).unwrap();
    }

    /// A queue that goes with this connection; a durable one stays.
    pub(super) fn queue(&mut self, name: &str, durable: bool, arguments: &[(&str, Field<'_>)]) {
        let flags = if durable { 0b10 } else { 0b1100 };
        self.call(1, (50, 10), &[U16(0), Short(name), U8(flags), Table(arguments)]).unwrap();
        self.until(50, 11).unwrap();
    }

    pub(super) fn bind(&mut self, queue: &str, exchange: &str, key: &str) {
        let arguments = [U16(0), Short(queue), Short(exchange), Short(key), U8(0), Table(&[])];
        self.call(1, (50, 20), &arguments).unwrap();
        self.until(50, 21).unwrap();
    }

    /// Removes what waits in a queue.
    pub(super) fn purge(&mut self, queue: &str) {
        self.call(1, (50, 30), &[U16(0), Short(queue), U8(0)]).unwrap();
        self.until(50, 31).unwrap();
    }

    /// Has every message of the queue sent here, acknowledging none.
    pub(super) fn consume(&mut self, queue: &str) -> Done<()> {
        self.call(1, (60, 20), &[U16(0), Short(queue), Short("t"), U8(0), Table(&[])])?;
        self.until(60, 21)
    }

    /// Puts a message without properties into a queue.
    pub(super) fn put(&mut self, queue: &str, body: &str) -> Done<()> {
        self.call(1, (60, 40), &[U16(0), Short(""), Short(queue), U8(0)])?;
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend([0, 0]);
        self.frame(2, 1, &header)?;
        self.frame(3, 1, body.as_bytes())
    }

    /// The next message of a queue that is consumed.
    pub(super) fn next(&mut self) -> Done<Message> {
        let arguments = self.answer(60, 60)?;
        let mut from = &arguments[..];
        short(&mut from);
        from = &from[9..];
        let (exchange, key) = (short(&mut from), short(&mut from));
        let (2, header) = self.read()? else { panic!("no header") };
        let size = u64::from_be_bytes(header[4..12].try_into().unwrap());
        let mut message = Message { exchange, key, ..properties(&header[12..]) };
        while message.body.len() < usize::try_from(size).unwrap() {
            let (3, piece) = self.read()? else { panic!("no body") };
            message.body.extend(piece);
        }
        Some(message)
    }

    fn until(&mut self, class: u16, method: u16) -> Done<()> {
        self.answer(class, method).map(drop)
    }

    /// The arguments of this method, which is the next but for signs of life.
    fn answer(&mut self, class: u16, method: u16) -> Done<Vec<u8>> {
        loop {
            let (kind, payload) = self.read()?;
            if kind == 8 {
                continue;
            }
            let got =
                (u16::from_be_bytes([payload[0], payload[1]]), u16::from_be_bytes([payload[2], payload[3]]));
            // A broker that stops says so.
            if got == (10, 50) {
                return None;
            }
            assert_eq!((kind, got), (1, (class, method)), "{:?}", String::from_utf8_lossy(&payload));
            return Some(payload[4..].to_vec());
        }
    }

    fn read(&mut self) -> Done<(u8, Vec<u8>)> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).ok()?;
        let size = u32::from_be_bytes(head[3..].try_into().unwrap()) as usize;
        let mut payload = vec![0; size + 1];
        self.0.read_exact(&mut payload).ok()?;
        assert_eq!(payload.pop(), Some(0xCE));
        Some((head[0], payload))
    }

    fn call(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[Arg<'_>]) -> Done<()> {
        let mut payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
        for argument in arguments {
            match argument {
                U8(value) => payload.push(*value),
                U16(value) => payload.extend(value.to_be_bytes()),
                U32(value) => payload.extend(value.to_be_bytes()),
                Short(text) => put_short(&mut payload, text),
                Long(bytes) => put_long(&mut payload, bytes),
                Table(fields) => {
                    let mut table = Vec::new();
                    for (name, field) in *fields {
                        put_short(&mut table, name);
                        match field {
                            Field::Text(text) => {
                                table.push(b'S');
                                put_long(&mut table, text.as_bytes());
                            }
                            Field::Number(number) => {
                                table.push(b'I');
                                table.extend(number.to_be_bytes());
                            }
                        }
                    }
                    put_long(&mut payload, &table);
                }
            }
        }
        self.frame(1, channel, &payload)
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Done<()> {
        let mut frame = vec![kind];
        frame.extend(channel.to_be_bytes());
        put_long(&mut frame, payload);
        frame.push(0xCE);
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Done<()> {
        self.0.get_mut().write_all(bytes).ok()
    }
}

fn put_short(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).unwrap());
    to.extend(text.as_bytes());
}

fn put_long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    to.extend(bytes);
}

fn bytes<'a>(from: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(size);
    *from = rest;
    taken
}

fn short(from: &mut &[u8]) -> String {
    let size = bytes(from, 1)[0].into();
    String::from_utf8(bytes(from, size).to_vec()).unwrap()
}

fn long<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let size = u32::from_be_bytes(bytes(from, 4).try_into().unwrap());
    bytes(from, size as usize)
}

/// Those that a message of ours may have.
fn properties(mut from: &[u8]) -> Message {
    let flags = u16::from_be_bytes(bytes(&mut from, 2).try_into().unwrap());
    assert_eq!(flags & !0b1011_0000_1000_0000, 0, "no other properties");
    let mut message = Message::default();
    if flags >> 15 & 1 == 1 {
        message.content_type = short(&mut from);
    }
    if flags >> 13 & 1 == 1 {
        let mut table = long(&mut from);
        while !table.is_empty() {
            let name = short(&mut table);
            assert_eq!(bytes(&mut table, 1), b"S", "a text");
            message.headers.insert(name, String::from_utf8(long(&mut table).to_vec()).unwrap());
        }
    }
    if flags >> 12 & 1 == 1 {
        message.delivery_mode = bytes(&mut from, 1)[0];
    }
    if flags >> 7 & 1 == 1 {
        message.id = short(&mut from);
    }
    message
}
