//! The stories: the product against real servers and real clients. One binary, one module a story.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod the_lab;
