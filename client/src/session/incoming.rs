//! From received bytes to replies: hello, then frame after frame, whatever the pieces they come in.

use super::{Session, SessionError};
use protocol::checksum::Checksum;
use protocol::{
    AgentHello, ErrorBody, Flags, HELLO_BYTES, Head, Header, HelloError, Kind, Status, hello,
    parse_frame_head,
};

/// Where in the stream we are.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// The beginning of a hello or head that has not come wholly.
    carry: Vec<u8>,
    /// The frame whose payload is coming.
    payload: Option<Payload>,
}

#[derive(Debug)]
struct Payload {
    header: Header,
    slot: u16,
    missing: usize,
    checksum: Option<Checksum>,
}

impl Session {
    /// Takes some bytes, at least one, and returns the rest.
    pub(super) fn feed_some<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], SessionError> {
        if self.terms.is_none() {
            self.feed_hello(bytes)
        } else if let Some(payload) = self.incoming.payload.take() {
            self.feed_payload(payload, bytes)
        } else {
            self.feed_head(bytes)
        }
    }

    fn feed_hello<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], SessionError> {
        let carry = &mut self.incoming.carry;
        let (now, rest) = split(bytes, HELLO_BYTES - carry.len());
        carry.extend_from_slice(now);
        if !hello::may_begin_hello(carry) {
            return Err(SessionError::Hello(HelloError::BadMagic));
        }
        if let Some(raw) = carry.first_chunk::<HELLO_BYTES>() {
            let hello = AgentHello::parse(raw).map_err(SessionError::Hello)?;
            carry.clear();
            self.welcome(hello)?;
        }
        Ok(rest)
    }

    fn feed_head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], SessionError> {
        if self.incoming.carry.is_empty() {
            return match parse_frame_head(bytes).map_err(SessionError::Frame)? {
                Head::Complete { header, body } => {
                    self.begin_frame(header, body)?;
                    Ok(split(bytes, protocol::HEADER_BYTES + body.len()).1)
                }
                Head::Incomplete { .. } => {
                    self.incoming.carry.extend_from_slice(bytes);
                    Ok(&[])
                }
            };
        }
        let mut carry = core::mem::take(&mut self.incoming.carry);
        let result = self.feed_carried_head(&mut carry, bytes);
        self.incoming.carry = carry;
        result
    }

    /// Goes on with a head whose beginning is in `carry`; empties that when it is whole.
    fn feed_carried_head<'b>(
        &mut self,
        carry: &mut Vec<u8>,
        bytes: &'b [u8],
    ) -> Result<&'b [u8], SessionError> {
        let Head::Incomplete { need } = parse_frame_head(carry).map_err(SessionError::Frame)?
        else {
            carry.clear();
            return Ok(bytes);
        };
        let (now, rest) = split(bytes, need.saturating_sub(carry.len()));
        carry.extend_from_slice(now);
        if let Head::Complete { header, body } =
            parse_frame_head(carry).map_err(SessionError::Frame)?
        {
            self.begin_frame(header, body)?;
            carry.clear();
        }
        Ok(rest)
    }

    fn begin_frame(&mut self, header: Header, body: &[u8]) -> Result<(), SessionError> {
        if header.kind == Kind::Notice || header.status.closes() {
            let detail = Box::new(ErrorBody::decode(body).unwrap_or_default());
            return Err(SessionError::ClosedByAgent {
                status: header.status,
                detail,
            });
        }
        let unknown = SessionError::UnknownRequest(header.request);
        let slot = self.table.find(header.request).ok_or(unknown.clone())?;
        let request = self.table.get_mut(slot).ok_or(unknown)?;
        if header.kind != request.kind.reply() {
            return Err(SessionError::WrongKind {
                request: request.kind,
                reply: header.kind,
            });
        }
        if header.more_follows() && header.payload_bytes == 0 {
            return Err(SessionError::EmptyPart {
                request: request.kind,
            });
        }
        let failed = header.status != Status::Ok && !header.more_follows();
        let limit = if failed { 0 } else { request.reply_bytes_max };
        if failed {
            request.payload.truncate(request.reply_start);
        }
        let missing = header.payload_bytes as usize;
        if request.payload.len() - request.reply_start + missing > limit {
            return Err(SessionError::ReplyTooLong {
                request: request.kind,
                limit,
            });
        }
        if !header.more_follows() {
            request.status = header.status;
            request.credits = header.credits;
            request.body.clear();
            request.body.extend_from_slice(body);
        }
        let checked = header.flags.contains(Flags::PAYLOAD_CRC);
        let checksum = checked.then(Checksum::new);
        let payload = Payload {
            header,
            slot,
            missing,
            checksum,
        };
        if missing == 0 {
            return self.end_frame(payload);
        }
        request.payload.reserve(missing);
        self.incoming.payload = Some(payload);
        Ok(())
    }

    fn feed_payload<'b>(
        &mut self,
        mut payload: Payload,
        bytes: &'b [u8],
    ) -> Result<&'b [u8], SessionError> {
        let (now, rest) = split(bytes, payload.missing);
        if let Some(request) = self.table.get_mut(payload.slot) {
            request.payload.extend_from_slice(now);
        }
        if let Some(checksum) = &mut payload.checksum {
            checksum.update(now);
        }
        payload.missing -= now.len();
        if payload.missing == 0 {
            self.end_frame(payload)?;
        } else {
            self.incoming.payload = Some(payload);
        }
        Ok(rest)
    }

    fn end_frame(&mut self, payload: Payload) -> Result<(), SessionError> {
        let Payload {
            header,
            slot,
            checksum,
            ..
        } = payload;
        header
            .check_payload_crc(|| checksum.map_or(0, Checksum::finish))
            .map_err(SessionError::Frame)?;
        if header.more_follows() {
            Ok(())
        } else {
            self.complete(slot)
        }
    }
}

/// The first `n` bytes, or all, and the rest.
fn split(bytes: &[u8], n: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(n).unwrap_or((bytes, &[]))
}
