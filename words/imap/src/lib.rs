//! The IMAP grammar, both sides, sans I/O: bytes in, events out; events in, bytes out.
//!
//! [`CommandReader`] reads what clients send and [`ResponseWriter`] writes what a server answers (RFC 3501 and the
//! extensions named at each item). Messages pass through as slices and are never held; everything else is bounded.

mod append;
mod auth;
pub mod client;
mod code;
mod command;
mod date;
mod flag;
mod name;
mod parse;
mod parse_fetch;
mod parse_list;
mod parse_search;
mod reader;
mod scan;
mod set;
mod structure;
mod subject;
mod thread;
mod write;

pub use auth::{Plain, decode_base64, encode_base64};
pub use code::{Code, Status};
pub use command::{
    Command, Fetch, FetchItem, List, ListReturn, Qresync, Search, SearchKey, SearchReturn, Secret, Section,
    SectionName, SectionText, Select, Sort, SortBy, SortWhat, StatusItem, Store, StoreHow, Tagged, Thread,
    ThreadHow, When,
};
pub use date::{Date, format_date_time, parse_date_time};
pub use flag::Flag;
pub use name::{decode_utf7, encode_utf7, matches_pattern};
pub use reader::{AppendBegin, CommandReader, Event, Fault, Limits};
pub use set::{Ranges, SequenceSet};
pub use structure::{
    BodyStructure, Envelope, EnvelopeAddress, MultiPart, PART_DEPTH_MAX, Parameter, PartExtra, SinglePart,
};
pub use subject::base_subject;
pub use thread::{Threadable, Threads, by_references, by_subject};
pub use write::{ListKind, ResponseWriter, SearchResult};
